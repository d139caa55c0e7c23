; only_an_authorised_approval_unlatches: settle
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
(assert (let ((a!1 (and (<= (+ state.cycle 1) reading.cycle)
                (>= 9223372036854775807 reading.cycle)
                (<= state.alpha reading.alpha)
                (<= reading.alpha state.alpha)))
      (a!2 (and (<= 0 (* state.alpha reading.drive.0))
                (<= (* state.alpha reading.drive.0)
                    (* limits.drive_max 1000000000))))
      (a!3 (and (<= 0 (* state.alpha reading.drive.1))
                (<= (* state.alpha reading.drive.1)
                    (* limits.drive_max 1000000000))))
      (a!4 (and (<= 0 (* state.alpha reading.drive.2))
                (<= (* state.alpha reading.drive.2)
                    (* limits.drive_max 1000000000))))
      (a!6 (and (<= 0 comparison.tolerance)
                (<= comparison.tolerance limits.tolerance_max)
                (<= (- comparison.before comparison.tolerance) comparison.after)
                (>= 1000000000 comparison.after)))
      (a!7 (and (<= 0 (* state.good reading.drive.0))
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
      (a!9 (< (ite (>= (- state.alpha limits.alpha_safe) 0)
                   (- state.alpha limits.alpha_safe)
                   (- (- state.alpha limits.alpha_safe)))
              (ite (>= (- state.good limits.alpha_safe) 0)
                   (- state.good limits.alpha_safe)
                   (- (- state.good limits.alpha_safe))))))
(let ((a!5 (and (<= 0 reading.entropy_rate)
                (<= reading.entropy_rate limits.entropy_max)
                (<= limits.h_internal_min reading.h_internal)
                (>= 1000000000 reading.h_internal)
                a!2
                a!3
                a!4
                (<= 0 (* state.alpha reading.loop_gain.0))
                (<= (* state.alpha reading.loop_gain.0)
                    (* limits.loop_gain_max 1000000000))
                (<= 0 (* state.alpha reading.loop_gain.1))
                (<= (* state.alpha reading.loop_gain.1)
                    (* limits.loop_gain_max 1000000000))
                (<= 0 (* state.alpha reading.loop_gain.2))
                (<= (* state.alpha reading.loop_gain.2)
                    (* limits.loop_gain_max 1000000000))))
      (a!10 (and (<= 0 reading.entropy_rate)
                 (<= reading.entropy_rate limits.entropy_severe)
                 (<= limits.h_internal_severe reading.h_internal)
                 (>= 1000000000 reading.h_internal)
                 a!2
                 a!3
                 a!4
                 (<= 0 (* state.alpha reading.loop_gain.0))
                 (>= 367879441000000000 (* state.alpha reading.loop_gain.0))
                 (<= 0 (* state.alpha reading.loop_gain.1))
                 (>= 367879441000000000 (* state.alpha reading.loop_gain.1))
                 (<= 0 (* state.alpha reading.loop_gain.2))
                 (>= 367879441000000000 (* state.alpha reading.loop_gain.2)))))
(let ((a!8 (and (= state.mode 3)
                (= state.kind 0)
                (= state.resume 0)
                a!1
                a!5
                (not a!6)
                a!7
                (not (< (+ state.reverts 1) limits.reverts_max))
                (not true)))
      (a!11 (and a!10
                 (<= 0 state.reverts)
                 (<= state.reverts (- limits.reverts_max 1))))
      (a!12 (and a!10
                 (<= 0 (+ state.reverts 1))
                 (<= (+ state.reverts 1) (- limits.reverts_max 1))))
      (a!13 (and (= state.mode 3)
                 (= state.kind 0)
                 (= state.resume 1)
                 a!1
                 a!5
                 (not a!6)
                 a!7
                 (not (< (+ state.reverts 1) limits.reverts_max))
                 (not true))))
  (or (and (= state.mode 0) (= state.kind 0) (= state.resume 0) (not true))
      (and (= state.mode 1) (= state.kind 0) (= state.resume 0) (not true))
      (and (= state.mode 2) (= state.kind 0) (= state.resume 0) (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 0)
           a!1
           a!5
           a!6
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 0)
           a!1
           a!5
           (not a!6)
           a!7
           (< (+ state.reverts 1) limits.reverts_max)
           (not true))
      a!8
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 0)
           a!1
           a!5
           (not a!6)
           (not a!7)
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 0)
           a!1
           (not a!5)
           a!9
           a!11
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 0)
           a!1
           (not a!5)
           a!9
           (not a!11)
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 0)
           a!1
           (not a!5)
           (not a!9)
           a!12
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 0)
           a!1
           (not a!5)
           (not a!9)
           (not a!12)
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 0)
           (not a!1)
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 1)
           a!1
           a!5
           a!6
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 1)
           a!1
           a!5
           (not a!6)
           a!7
           (< (+ state.reverts 1) limits.reverts_max)
           (not true))
      a!13
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 1)
           a!1
           a!5
           (not a!6)
           (not a!7)
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 1)
           a!1
           (not a!5)
           a!9
           a!11
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 1)
           a!1
           (not a!5)
           a!9
           (not a!11)
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 1)
           a!1
           (not a!5)
           (not a!9)
           a!12
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 1)
           a!1
           (not a!5)
           (not a!9)
           (not a!12)
           (not true))
      (and (= state.mode 3)
           (= state.kind 0)
           (= state.resume 1)
           (not a!1)
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 0)
           a!1
           a!5
           a!7
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 0)
           a!1
           a!5
           (not a!7)
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 0)
           a!1
           (not a!5)
           a!9
           a!11
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 0)
           a!1
           (not a!5)
           a!9
           (not a!11)
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 0)
           a!1
           (not a!5)
           (not a!9)
           a!12
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 0)
           a!1
           (not a!5)
           (not a!9)
           (not a!12)
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 0)
           (not a!1)
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 1)
           a!1
           a!5
           a!7
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 1)
           a!1
           a!5
           (not a!7)
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 1)
           a!1
           (not a!5)
           a!9
           a!11
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 1)
           a!1
           (not a!5)
           a!9
           (not a!11)
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 1)
           a!1
           (not a!5)
           (not a!9)
           a!12
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 1)
           a!1
           (not a!5)
           (not a!9)
           (not a!12)
           (not true))
      (and (= state.mode 3)
           (= state.kind 1)
           (= state.resume 1)
           (not a!1)
           (not true))
      (and (= state.mode 3)
           (= state.kind 2)
           (= state.resume 0)
           a!1
           a!5
           (not true))
      (and (= state.mode 3)
           (= state.kind 2)
           (= state.resume 0)
           a!1
           (not a!5)
           a!9
           a!11
           (not true))
      (and (= state.mode 3)
           (= state.kind 2)
           (= state.resume 0)
           a!1
           (not a!5)
           a!9
           (not a!11)
           (not true))
      (and (= state.mode 3)
           (= state.kind 2)
           (= state.resume 0)
           a!1
           (not a!5)
           (not a!9)
           a!12
           (not true))
      (and (= state.mode 3)
           (= state.kind 2)
           (= state.resume 0)
           a!1
           (not a!5)
           (not a!9)
           (not a!12)
           (not true))
      (and (= state.mode 3)
           (= state.kind 2)
           (= state.resume 0)
           (not a!1)
           (not true))
      (and (= state.mode 3)
           (= state.kind 2)
           (= state.resume 1)
           a!1
           a!5
           (not true))
      (and (= state.mode 3)
           (= state.kind 2)
           (= state.resume 1)
           a!1
           (not a!5)
           a!9
           a!11
           (not true))
      (and (= state.mode 3)
           (= state.kind 2)
           (= state.resume 1)
           a!1
           (not a!5)
           a!9
           (not a!11)
           (not true))
      (and (= state.mode 3)
           (= state.kind 2)
           (= state.resume 1)
           a!1
           (not a!5)
           (not a!9)
           a!12
           (not true))
      (and (= state.mode 3)
           (= state.kind 2)
           (= state.resume 1)
           a!1
           (not a!5)
           (not a!9)
           (not a!12)
           (not true))
      (and (= state.mode 3)
           (= state.kind 2)
           (= state.resume 1)
           (not a!1)
           (not true)))))))
(check-sat)
