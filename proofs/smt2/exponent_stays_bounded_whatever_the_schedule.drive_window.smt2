; exponent_stays_bounded_whatever_the_schedule: drive_window
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun p () Real)
(declare-fun rate () Real)
(declare-fun peak () Real)
(declare-fun total_weight () Real)
(declare-fun norm_integral () Real)
(assert (>= (* rate p) 0.0))
(assert (<= norm_integral (* total_weight peak)))
(assert (=> (and (>= (* rate p) 0.0) (<= norm_integral (* total_weight peak)))
    (<= (* (* rate p) norm_integral) (* (* rate p) (* total_weight peak)))))
(assert (not (<= (* (* rate p) norm_integral) (* (* rate p) total_weight peak))))
(check-sat)
