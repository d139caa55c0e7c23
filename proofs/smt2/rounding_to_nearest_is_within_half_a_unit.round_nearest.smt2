; rounding_to_nearest_is_within_half_a_unit: round_nearest
; unsat: the claim holds
(set-logic QF_NIA)
(declare-fun denominator () Int)
(declare-fun divisor () Int)
(declare-fun numerator () Int)
(assert (< 0 denominator))
(assert (= divisor (* 2 denominator)))
(assert (let ((a!1 (* (div (+ (* 2 numerator 1000000000) denominator) divisor) divisor))
      (a!2 (+ (div (+ (* 2 numerator 1000000000) denominator) divisor) 1)))
(let ((a!3 (and (<= a!1 (+ (* 2 numerator 1000000000) denominator))
                (< (+ (* 2 numerator 1000000000) denominator) (* a!2 divisor)))))
  (or (and (not (= divisor 0)) (> divisor 0) (not a!3))))))
(check-sat)
