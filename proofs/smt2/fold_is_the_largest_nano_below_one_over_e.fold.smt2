; fold_is_the_largest_nano_below_one_over_e: fold
; unsat: the claim holds
(set-logic QF_LRA)
(declare-fun one_over_e () Real)
(assert (<= (/ 197472670029260324553630872514024155201822677.0
       536786370557827456806323203681655193600000000.0)
    one_over_e))
(assert (>= (/ 42977276800008547006855398564359821410109.0
       116824350562117737717222967187865600000000.0)
    one_over_e))
(assert (not (and (<= 367879441.0 (* 1000000000.0 one_over_e))
          (> 367879442.0 (* 1000000000.0 one_over_e)))))
(check-sat)
