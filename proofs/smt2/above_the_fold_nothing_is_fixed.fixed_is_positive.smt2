; above_the_fold_nothing_is_fixed: fixed_is_positive
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun loop_gain () Real)
(declare-fun y () Real)
(declare-fun exp (Real) Real)
(assert (> loop_gain 0.0))
(assert (= (* loop_gain (exp y)) y))
(assert (> (exp y) 0.0))
(assert (=> (and (> loop_gain 0.0) (< 0.0 (exp y)))
    (< (* loop_gain 0.0) (* loop_gain (exp y)))))
(assert (not (> y 0.0)))
(check-sat)
