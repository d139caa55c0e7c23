; exponent_stays_bounded_whatever_the_schedule: omega
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun norm_f () Real)
(declare-fun m () Real)
(declare-fun peak () Real)
(assert (>= norm_f 0.0))
(assert (<= norm_f 1.0))
(assert (> m 0.0))
(assert (<= m peak))
(assert (=> (and (>= m 0.0) (>= 1.0 norm_f)) (<= (* m norm_f) (* m 1.0))))
(assert (not (<= (* norm_f m) peak)))
(check-sat)
