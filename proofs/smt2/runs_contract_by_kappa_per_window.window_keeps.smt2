; runs_contract_by_kappa_per_window: window_keeps
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun apart () Real)
(declare-fun kappa () Real)
(declare-fun exponents_apart () Real)
(assert (>= apart 0.0))
(assert (< kappa 1.0))
(assert (<= exponents_apart (* kappa apart)))
(assert (=> (and (>= apart 0.0) (>= 1.0 kappa)) (<= (* apart kappa) (* apart 1.0))))
(assert (not (<= exponents_apart apart)))
(check-sat)
