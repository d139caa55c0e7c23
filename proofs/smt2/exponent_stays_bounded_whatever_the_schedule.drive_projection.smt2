; exponent_stays_bounded_whatever_the_schedule: drive_projection
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun rate () Real)
(declare-fun norm_integral () Real)
(declare-fun p () Real)
(declare-fun projection () Real)
(assert (>= rate 0.0))
(assert (<= projection (* p norm_integral)))
(assert (=> (and (>= rate 0.0) (<= projection (* p norm_integral)))
    (<= (* rate projection) (* rate (* p norm_integral)))))
(assert (not (<= (* rate projection) (* rate p norm_integral))))
(check-sat)
