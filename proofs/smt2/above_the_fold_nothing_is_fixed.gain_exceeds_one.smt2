; above_the_fold_nothing_is_fixed: gain_exceeds_one
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun loop_gain () Real)
(declare-fun exp (Real) Real)
(assert (< (exp (- 1.0)) loop_gain))
(assert (> (exp 1.0) 0.0))
(assert (= 1.0 (* 1.0 (exp 1.0) (exp (- 1.0)))))
(assert (let ((a!1 (and (> (exp 1.0) 0.0) (< (exp (- 1.0)) loop_gain)))
      (a!2 (< (* (exp 1.0) (exp (- 1.0))) (* (exp 1.0) loop_gain))))
  (=> a!1 a!2)))
(assert (not (> (* loop_gain (exp 1.0)) 1.0)))
(check-sat)
