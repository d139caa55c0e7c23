; evidence_only_chooses_between_trial_and_way_back: settle
; unsat: the claim holds
(set-logic QF_NIA)
(declare-fun limits.alpha_max () Int)
(declare-fun limits.alpha_min () Int)
(declare-fun limits.alpha_safe () Int)
(declare-fun limits.step_max () Int)
(declare-fun limits.entropy_severe () Int)
(declare-fun limits.entropy_max () Int)
(declare-fun limits.h_internal_min () Int)
(declare-fun limits.h_internal_severe () Int)
(declare-fun limits.drive_max () Int)
(declare-fun limits.loop_gain_max () Int)
(declare-fun limits.tolerance_max () Int)
(declare-fun limits.reverts_max () Int)
(declare-fun limits.missed_max () Int)
(declare-fun state.mode () Int)
(declare-fun state.kind () Int)
(declare-fun state.alpha () Int)
(declare-fun state.good () Int)
(declare-fun state.resume () Int)
(declare-fun state.cycle () Int)
(declare-fun state.reverts () Int)
(declare-fun state.missed () Int)
(declare-fun state.policy () Int)
(declare-fun reading.alpha () Int)
(declare-fun reading.cycle () Int)
(declare-fun reading.loop_gain.2 () Int)
(declare-fun reading.loop_gain.1 () Int)
(declare-fun reading.loop_gain.0 () Int)
(declare-fun reading.drive.2 () Int)
(declare-fun reading.drive.1 () Int)
(declare-fun reading.drive.0 () Int)
(declare-fun reading.h_internal () Int)
(declare-fun reading.entropy_rate () Int)
(declare-fun comparison.after () Int)
(declare-fun comparison.tolerance () Int)
(declare-fun comparison.before () Int)
(assert (and (<= 1 limits.alpha_min) (<= limits.alpha_min (- limits.alpha_max 1))))
(assert (and (<= limits.alpha_min limits.alpha_safe)
     (<= limits.alpha_safe limits.alpha_max)))
(assert (and (<= 1 limits.step_max)
     (<= limits.step_max (- limits.alpha_max limits.alpha_min))))
(assert (and (<= 0 limits.entropy_max) (<= limits.entropy_max limits.entropy_severe)))
(assert (and (<= 0 limits.h_internal_severe)
     (<= limits.h_internal_severe limits.h_internal_min)))
(assert (and (<= 0 limits.h_internal_min) (>= 1000000000 limits.h_internal_min)))
(assert (and (<= 1 limits.drive_max) (>= 9223372036854775807 limits.drive_max)))
(assert (and (<= 1 limits.loop_gain_max) (>= 367879441 limits.loop_gain_max)))
(assert (and (<= 0 limits.tolerance_max) (>= 4000000000 limits.tolerance_max)))
(assert (and (<= 1 limits.reverts_max) (>= 9223372036854775807 limits.reverts_max)))
(assert (and (<= 1 limits.missed_max) (>= 9223372036854775807 limits.missed_max)))
(assert (and (<= 0 state.mode) (>= 3 state.mode)))
(assert (and (<= 0 state.kind) (>= 2 state.kind)))
(assert (and (<= limits.alpha_min state.alpha) (<= state.alpha limits.alpha_max)))
(assert (and (<= limits.alpha_min state.good) (<= state.good limits.alpha_max)))
(assert (and (<= (- limits.step_max) (- state.alpha state.good))
     (<= (- state.alpha state.good) limits.step_max)))
(assert (or (= 3 state.mode) (= state.good state.alpha)))
(assert (or (= 3 state.mode) (= 0 state.kind)))
(assert (or (= 3 state.mode) (= 0 state.resume)))
(assert (or (distinct 3 state.mode) (= 0 state.resume) (= 1 state.resume)))
(assert (<= 0 state.cycle))
(assert (<= 0 state.reverts))
(assert (<= 0 state.missed))
(assert (<= 1 state.policy))
(assert (let ((a!1 (and (= state.mode 0)
                (= state.kind 0)
                (= state.resume 0)
                (not (or (= state.alpha state.alpha) (= state.alpha state.good)))))
      (a!2 (and (= state.mode 1)
                (= state.kind 0)
                (= state.resume 0)
                (not (or (= state.alpha state.alpha) (= state.alpha state.good)))))
      (a!3 (and (= state.mode 2)
                (= state.kind 0)
                (= state.resume 0)
                (not (or (= state.alpha state.alpha) (= state.alpha state.good)))))
      (a!4 (and (<= (+ state.cycle 1) reading.cycle)
                (>= 9223372036854775807 reading.cycle)
                (<= state.alpha reading.alpha)
                (<= reading.alpha state.alpha)))
      (a!5 (and (<= 0 (* state.alpha reading.drive.0))
                (<= (* state.alpha reading.drive.0)
                    (* limits.drive_max 1000000000))))
      (a!6 (and (<= 0 (* state.alpha reading.drive.1))
                (<= (* state.alpha reading.drive.1)
                    (* limits.drive_max 1000000000))))
      (a!7 (and (<= 0 (* state.alpha reading.drive.2))
                (<= (* state.alpha reading.drive.2)
                    (* limits.drive_max 1000000000))))
      (a!9 (and (<= 0 comparison.tolerance)
                (<= comparison.tolerance limits.tolerance_max)
                (<= (- comparison.before comparison.tolerance) comparison.after)
                (>= 1000000000 comparison.after)))
      (a!11 (and (<= 0 (* state.good reading.drive.0))
                 (<= (* state.good reading.drive.0)
                     (* limits.drive_max 1000000000))
                 (<= 0 (* state.good reading.drive.1))
                 (<= (* state.good reading.drive.1)
                     (* limits.drive_max 1000000000))
                 (<= 0 (* state.good reading.drive.2))
                 (<= (* state.good reading.drive.2)
                     (* limits.drive_max 1000000000))
                 (<= 0 (* state.good reading.loop_gain.0))
                 (<= (* state.good reading.loop_gain.0)
                     (* limits.loop_gain_max 1000000000))
                 (<= 0 (* state.good reading.loop_gain.1))
                 (<= (* state.good reading.loop_gain.1)
                     (* limits.loop_gain_max 1000000000))
                 (<= 0 (* state.good reading.loop_gain.2))
                 (<= (* state.good reading.loop_gain.2)
                     (* limits.loop_gain_max 1000000000))))
      (a!15 (< (ite (>= (- state.alpha limits.alpha_safe) 0)
                    (- state.alpha limits.alpha_safe)
                    (- (- state.alpha limits.alpha_safe)))
               (ite (>= (- state.good limits.alpha_safe) 0)
                    (- state.good limits.alpha_safe)
                    (- (- state.good limits.alpha_safe))))))
(let ((a!8 (and (<= 0 reading.entropy_rate)
                (<= reading.entropy_rate limits.entropy_max)
                (<= limits.h_internal_min reading.h_internal)
                (>= 1000000000 reading.h_internal)
                a!5
                a!6
                a!7
                (<= 0 (* state.alpha reading.loop_gain.0))
                (<= (* state.alpha reading.loop_gain.0)
                    (* limits.loop_gain_max 1000000000))
                (<= 0 (* state.alpha reading.loop_gain.1))
                (<= (* state.alpha reading.loop_gain.1)
                    (* limits.loop_gain_max 1000000000))
                (<= 0 (* state.alpha reading.loop_gain.2))
                (<= (* state.alpha reading.loop_gain.2)
                    (* limits.loop_gain_max 1000000000))))
      (a!16 (and (<= 0 reading.entropy_rate)
                 (<= reading.entropy_rate limits.entropy_severe)
                 (<= limits.h_internal_severe reading.h_internal)
                 (>= 1000000000 reading.h_internal)
                 a!5
                 a!6
                 a!7
                 (<= 0 (* state.alpha reading.loop_gain.0))
                 (>= 367879441000000000 (* state.alpha reading.loop_gain.0))
                 (<= 0 (* state.alpha reading.loop_gain.1))
                 (>= 367879441000000000 (* state.alpha reading.loop_gain.1))
                 (<= 0 (* state.alpha reading.loop_gain.2))
                 (>= 367879441000000000 (* state.alpha reading.loop_gain.2))))
      (a!23 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 0)
                 (not a!4)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!32 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 1)
                 (not a!4)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!39 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 0)
                 (not a!4)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!46 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 1)
                 (not a!4)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!52 (and (= state.mode 3)
                 (= state.kind 2)
                 (= state.resume 0)
                 (not a!4)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!58 (and (= state.mode 3)
                 (= state.kind 2)
                 (= state.resume 1)
                 (not a!4)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good))))))
(let ((a!10 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 0)
                 a!4
                 a!8
                 a!9
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!12 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 0)
                 a!4
                 a!8
                 (not a!9)
                 a!11
                 (< (+ state.reverts 1) limits.reverts_max)
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!13 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 0)
                 a!4
                 a!8
                 (not a!9)
                 a!11
                 (not (< (+ state.reverts 1) limits.reverts_max))
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!14 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 0)
                 a!4
                 a!8
                 (not a!9)
                 (not a!11)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!17 (and a!16
                 (<= 0 state.reverts)
                 (<= state.reverts (- limits.reverts_max 1))))
      (a!20 (and a!16
                 (<= 0 (+ state.reverts 1))
                 (<= (+ state.reverts 1) (- limits.reverts_max 1))))
      (a!24 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 1)
                 a!4
                 a!8
                 a!9
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!25 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 1)
                 a!4
                 a!8
                 (not a!9)
                 a!11
                 (< (+ state.reverts 1) limits.reverts_max)
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!26 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 1)
                 a!4
                 a!8
                 (not a!9)
                 a!11
                 (not (< (+ state.reverts 1) limits.reverts_max))
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!27 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 1)
                 a!4
                 a!8
                 (not a!9)
                 (not a!11)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!33 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 0)
                 a!4
                 a!8
                 a!11
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!34 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 0)
                 a!4
                 a!8
                 (not a!11)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!40 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 1)
                 a!4
                 a!8
                 a!11
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!41 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 1)
                 a!4
                 a!8
                 (not a!11)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!47 (and (= state.mode 3)
                 (= state.kind 2)
                 (= state.resume 0)
                 a!4
                 a!8
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!53 (and (= state.mode 3)
                 (= state.kind 2)
                 (= state.resume 1)
                 a!4
                 a!8
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good))))))
(let ((a!18 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 0)
                 a!4
                 (not a!8)
                 a!15
                 a!17
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!19 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 0)
                 a!4
                 (not a!8)
                 a!15
                 (not a!17)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!21 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 0)
                 a!4
                 (not a!8)
                 (not a!15)
                 a!20
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!22 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 0)
                 a!4
                 (not a!8)
                 (not a!15)
                 (not a!20)
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!28 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 1)
                 a!4
                 (not a!8)
                 a!15
                 a!17
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!29 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 1)
                 a!4
                 (not a!8)
                 a!15
                 (not a!17)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!30 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 1)
                 a!4
                 (not a!8)
                 (not a!15)
                 a!20
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!31 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 1)
                 a!4
                 (not a!8)
                 (not a!15)
                 (not a!20)
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!35 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 0)
                 a!4
                 (not a!8)
                 a!15
                 a!17
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!36 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 0)
                 a!4
                 (not a!8)
                 a!15
                 (not a!17)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!37 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 0)
                 a!4
                 (not a!8)
                 (not a!15)
                 a!20
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!38 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 0)
                 a!4
                 (not a!8)
                 (not a!15)
                 (not a!20)
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!42 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 1)
                 a!4
                 (not a!8)
                 a!15
                 a!17
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!43 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 1)
                 a!4
                 (not a!8)
                 a!15
                 (not a!17)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!44 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 1)
                 a!4
                 (not a!8)
                 (not a!15)
                 a!20
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!45 (and (= state.mode 3)
                 (= state.kind 1)
                 (= state.resume 1)
                 a!4
                 (not a!8)
                 (not a!15)
                 (not a!20)
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!48 (and (= state.mode 3)
                 (= state.kind 2)
                 (= state.resume 0)
                 a!4
                 (not a!8)
                 a!15
                 a!17
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!49 (and (= state.mode 3)
                 (= state.kind 2)
                 (= state.resume 0)
                 a!4
                 (not a!8)
                 a!15
                 (not a!17)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!50 (and (= state.mode 3)
                 (= state.kind 2)
                 (= state.resume 0)
                 a!4
                 (not a!8)
                 (not a!15)
                 a!20
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!51 (and (= state.mode 3)
                 (= state.kind 2)
                 (= state.resume 0)
                 a!4
                 (not a!8)
                 (not a!15)
                 (not a!20)
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!54 (and (= state.mode 3)
                 (= state.kind 2)
                 (= state.resume 1)
                 a!4
                 (not a!8)
                 a!15
                 a!17
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!55 (and (= state.mode 3)
                 (= state.kind 2)
                 (= state.resume 1)
                 a!4
                 (not a!8)
                 a!15
                 (not a!17)
                 (not (or (= state.alpha state.alpha)
                          (= state.alpha state.good)))))
      (a!56 (and (= state.mode 3)
                 (= state.kind 2)
                 (= state.resume 1)
                 a!4
                 (not a!8)
                 (not a!15)
                 a!20
                 (not (or (= state.good state.alpha) (= state.good state.good)))))
      (a!57 (and (= state.mode 3)
                 (= state.kind 2)
                 (= state.resume 1)
                 a!4
                 (not a!8)
                 (not a!15)
                 (not a!20)
                 (not (or (= state.good state.alpha) (= state.good state.good))))))
  (or a!1
      a!2
      a!3
      a!10
      a!12
      a!13
      a!14
      a!18
      a!19
      a!21
      a!22
      a!23
      a!24
      a!25
      a!26
      a!27
      a!28
      a!29
      a!30
      a!31
      a!32
      a!33
      a!34
      a!35
      a!36
      a!37
      a!38
      a!39
      a!40
      a!41
      a!42
      a!43
      a!44
      a!45
      a!46
      a!47
      a!48
      a!49
      a!50
      a!51
      a!52
      a!53
      a!54
      a!55
      a!56
      a!57
      a!58))))))
(check-sat)
