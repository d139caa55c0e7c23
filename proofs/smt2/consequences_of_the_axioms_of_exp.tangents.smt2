; consequences_of_the_axioms_of_exp: tangents
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun gap () Real)
(declare-fun exp (Real) Real)
(declare-fun y () Real)
(assert (>= (exp gap) (+ 1.0 gap)))
(assert (> (exp y) 0.0))
(assert (=> (and (>= (exp y) 0.0) (<= (+ 1.0 gap) (exp gap)))
    (<= (* (exp y) (+ 1.0 gap)) (* (exp y) (exp gap)))))
(assert (not (<= (* (exp y) (+ 1.0 gap)) (* (exp y) (exp gap)))))
(check-sat)
