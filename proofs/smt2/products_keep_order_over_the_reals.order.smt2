; products_keep_order_over_the_reals: order
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun b () Real)
(declare-fun s () Real)
(declare-fun a () Real)
(assert (not (=> (and (>= s 0.0) (<= a b)) (<= (* s a) (* s b)))))
(check-sat)
