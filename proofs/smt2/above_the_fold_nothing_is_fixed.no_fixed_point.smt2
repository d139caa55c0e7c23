; above_the_fold_nothing_is_fixed: no_fixed_point
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun y () Real)
(declare-fun gain () Real)
(assert (> y 0.0))
(assert (> gain 1.0))
(assert (=> (and (> y 0.0) (< 1.0 gain)) (< (* y 1.0) (* y gain))))
(assert (not (> (* gain y) y)))
(check-sat)
