; runs_contract_by_kappa_per_window: contraction
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun apart () Real)
(declare-fun gain () Real)
(declare-fun exponents_apart () Real)
(declare-fun kappa () Real)
(assert (>= apart 0.0))
(assert (<= exponents_apart (* gain apart)))
(assert (<= gain kappa))
(assert (=> (and (>= apart 0.0) (<= gain kappa)) (<= (* apart gain) (* apart kappa))))
(assert (not (<= exponents_apart (* kappa apart))))
(check-sat)
