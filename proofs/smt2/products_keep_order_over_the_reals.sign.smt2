; products_keep_order_over_the_reals: sign
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun b () Real)
(declare-fun a () Real)
(assert (not (=> (and (>= a 0.0) (>= b 0.0)) (>= (* a b) 0.0))))
(check-sat)
