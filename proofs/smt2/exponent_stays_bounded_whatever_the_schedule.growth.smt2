; exponent_stays_bounded_whatever_the_schedule: growth
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun kappa () Real)
(declare-fun x () Real)
(declare-fun exp (Real) Real)
(assert (<= x kappa))
(assert (=> (<= x kappa) (<= (exp x) (exp kappa))))
(assert (not (<= (exp x) (exp kappa))))
(check-sat)
