; above_the_fold_nothing_is_fixed: fixed_is_above
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun loop_gain () Real)
(declare-fun exp (Real) Real)
(declare-fun y () Real)
(assert (> loop_gain 0.0))
(assert (<= (* (exp 1.0) y) (exp y)))
(assert (let ((a!1 (and (>= loop_gain 0.0) (<= (* (exp 1.0) y) (exp y))))
      (a!2 (<= (* loop_gain (* (exp 1.0) y)) (* loop_gain (exp y)))))
  (=> a!1 a!2)))
(assert (not (<= (* loop_gain (exp 1.0) y) (* loop_gain (exp y)))))
(check-sat)
