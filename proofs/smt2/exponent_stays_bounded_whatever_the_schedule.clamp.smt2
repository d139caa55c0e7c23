; exponent_stays_bounded_whatever_the_schedule: clamp
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun kappa () Real)
(declare-fun x () Real)
(declare-fun k_max () Real)
(assert (<= x kappa))
(assert (<= (- kappa) x))
(assert (>= k_max kappa))
(assert (let ((a!1 (= (ite (> (- k_max) x) (- k_max) (ite (< k_max x) k_max x)) x)))
  (not a!1)))
(check-sat)
