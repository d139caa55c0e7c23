; consequences_of_the_axioms_of_exp: reciprocal
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun exp (Real) Real)
(declare-fun x () Real)
(assert (= (exp 0.0) 1.0))
(assert (= (exp 0.0) (* (exp x) (exp (- x)))))
(assert (let ((a!1 (= (* (exp x) (exp (- x))) 1.0)))
  (not a!1)))
(check-sat)
