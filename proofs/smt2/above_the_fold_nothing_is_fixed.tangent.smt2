; above_the_fold_nothing_is_fixed: tangent
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun y () Real)
(declare-fun exp (Real) Real)
(assert (>= (exp y) (+ (exp 1.0) (* (exp 1.0) (- y 1.0)))))
(assert (not (<= (* (exp 1.0) y) (exp y))))
(check-sat)
