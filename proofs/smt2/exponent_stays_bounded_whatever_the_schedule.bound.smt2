; exponent_stays_bounded_whatever_the_schedule: bound
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun gain () Real)
(declare-fun exponent () Real)
(declare-fun exp (Real) Real)
(declare-fun kappa () Real)
(assert (<= exponent gain))
(assert (<= gain (* (exp kappa) kappa (exp (- kappa)))))
(assert (= (* kappa (exp kappa) (exp (- kappa))) kappa))
(assert (not (<= exponent kappa)))
(check-sat)
