; products_keep_order: monotone
; unsat: the claim holds
(set-logic QF_NIA)
(declare-fun denominator () Int)
(declare-fun limit () Int)
(declare-fun image () Int)
(assert (< 0 denominator))
(assert (let ((a!1 (or (not (< image limit))
               (<= (+ (* image denominator) denominator) (* limit denominator)))))
  (not a!1)))
(check-sat)
