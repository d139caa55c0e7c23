; products_with_a_figure_keep_order: lemma
; unsat: the claim holds
(set-logic QF_NIA)
(declare-fun figure () Int)
(declare-fun other () Int)
(declare-fun one () Int)
(assert (let ((a!1 (or (not (and (<= one other) (<= 0 figure)))
               (<= (* one figure) (* other figure)))))
  (not a!1)))
(check-sat)
