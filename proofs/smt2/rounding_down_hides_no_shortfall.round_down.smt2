; rounding_down_hides_no_shortfall: round_down
; unsat: the claim holds
(set-logic QF_NIA)
(declare-fun denominator () Int)
(declare-fun numerator () Int)
(assert (< 0 denominator))
(assert (let ((a!1 (<= (* (div (* numerator 1000000000) denominator) denominator)
               (* numerator 1000000000)))
      (a!2 (* (+ (div (* numerator 1000000000) denominator) 1) denominator)))
(let ((a!3 (not (and a!1 (> a!2 (* numerator 1000000000))))))
  (or (and (not (= denominator 0)) (> denominator 0) a!3)))))
(check-sat)
