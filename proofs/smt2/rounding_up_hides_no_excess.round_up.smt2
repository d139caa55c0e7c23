; rounding_up_hides_no_excess: round_up
; unsat: the claim holds
(set-logic QF_NIA)
(declare-fun denominator () Int)
(declare-fun numerator () Int)
(assert (< 0 denominator))
(assert (let ((a!1 (- (div (* (- numerator) 1000000000) denominator))))
(let ((a!2 (and (< (* (- a!1 1) denominator) (* numerator 1000000000))
                (>= (* a!1 denominator) (* numerator 1000000000)))))
  (or (and (not (= denominator 0)) (> denominator 0) (not a!2))))))
(check-sat)
