; exponent_stays_bounded_whatever_the_schedule: bound_product
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun loop_gain () Real)
(declare-fun exp (Real) Real)
(declare-fun kappa () Real)
(assert (>= (* kappa (exp (- kappa))) loop_gain))
(assert (> (exp kappa) 0.0))
(assert (let ((a!1 (<= loop_gain (* kappa (exp (- kappa)))))
      (a!2 (* (exp kappa) (* kappa (exp (- kappa))))))
  (=> (and (>= (exp kappa) 0.0) a!1) (<= (* (exp kappa) loop_gain) a!2))))
(assert (let ((a!1 (<= (* (exp kappa) loop_gain) (* (exp kappa) kappa (exp (- kappa))))))
  (not a!1)))
(check-sat)
