; above_the_fold_nothing_is_fixed: largest_bound
; unsat: the claim holds
(set-logic QF_UFNRA)
(declare-fun exp_kappa_times_exp_minus_kappa () Real)
(declare-fun exp (Real) Real)
(declare-fun exp_one_times_exp_minus_one () Real)
(declare-fun kappa () Real)
(assert (<= (* kappa (exp (- kappa)) exp_one_times_exp_minus_one)
    (* (exp (- 1.0)) exp_kappa_times_exp_minus_kappa)))
(assert (= exp_one_times_exp_minus_one 1.0))
(assert (= exp_kappa_times_exp_minus_kappa 1.0))
(assert (let ((a!1 (<= (* kappa (exp (- kappa))) (exp (- 1.0)))))
  (not a!1)))
(check-sat)
