//! Drives the real binary, each test in its own home with its own daemon and real child processes.
//!
//! A test that uses chance has a fixed seed. `COVEN_TEST_ROUNDS=10` repeats it ten times as often, also in the unit tests of
//! all that parses.
//!
//! # Faults
//!
//! coven-faults(7) says what happens at each of these. The tests below it provoke it.
//!
//! * The daemon is killed (`kill -9`)
//!   `orphans::events_that_followers_were_shown_survive_a_kill_at_any_moment`
//!   `orphans::sessions_of_a_killed_daemon_are_orphaned_and_lose_nothing_that_was_read`
//! * The daemon is stopped while harnesses write
//!   `stop::a_stop_under_load_loses_no_byte_that_was_written_before_the_signal`
//!   `stop::a_stop_records_the_last_words_of_every_harness`
//! * The daemon is killed while it stops
//!   `disk_full::a_daemon_that_is_killed_while_it_stops_is_no_clean_stop`
//! * The daemon is killed while it ends a session
//!   `misbehaviour::a_kill_that_a_crash_interrupts_is_finished_by_the_next_daemon`
//!   `misbehaviour::nothing_is_left_after_a_crash_and_a_restart`
//! * `stop` during `start`, fifty starts at once, garbage in `daemon.json`, a reused pid, a socket without a daemon
//!   `daemon::a_stop_during_a_start_leaves_either_a_daemon_that_answers_or_none`
//!   `daemon::fifty_starts_at_once_give_one_daemon_and_fifty_successes`
//!   `daemon::garbage_in_daemon_json_hinders_nothing`
//!   `daemon::a_pid_in_daemon_json_that_went_to_another_process_is_not_killed`
//!   `daemon::a_socket_on_which_nobody_listens_is_replaced`
//! * The daemon stops or dies before the `onEnd` of a session is due
//!   `on_end::a_restart_or_a_crash_before_the_time_does_not_call_it_off`
//! * The lock's file is removed under a daemon, and another daemon is started
//!   `copies::a_second_daemon_is_refused_where_the_first_still_serves_the_store`
//! * `COVEN_HOME` holds only a forwarded socket (`ssh -L`), and the connection dies
//!   `forwarded::a_socket_that_leads_to_another_machine_is_used_and_no_daemon_takes_its_place`
//! * root comes to a user's home (`su`, or `sudo` that keeps `HOME`)
//!   `trust::root_in_a_users_home_starts_nothing_and_leaves_nothing_of_its_own`
//! * The disk is full
//!   `disk_full::sessions_on_a_full_disk_wait_for_room_and_lose_nothing`
//!   `store::a_harness_that_fills_the_disk_can_be_killed`
//! * The daemon is stopped while the disk is full
//!   `disk_full::a_stop_that_cannot_write_says_what_is_lost_to_all_who_ask`
//!   `disk_full::a_restart_on_a_full_disk_says_what_is_lost_though_no_log_can_be_written`
//!   `disk_full::a_stop_waits_for_the_disk_to_have_room_again`
//! * The disk is full when the daemon starts
//!   `damage::a_start_on_a_full_disk_says_so`
//! * A backup is made without room for it
//!   `retention::a_backup_that_the_disk_has_no_room_for_leaves_nothing_behind`
//! * The disk turns read-only under the daemon
//!   `damage::a_disk_that_turns_read_only_under_the_daemon_fails_the_store_and_nothing_else`
//! * The home is read-only
//!   `damage::a_home_that_cannot_be_written_is_no_home_for_a_daemon_and_can_still_be_looked_at`
//! * The database is garbage, truncated, or of another program
//!   `damage::a_database_that_is_none_is_kept_and_a_backup_takes_its_place`
//!   `generations::restore_puts_a_backup_in_the_place_of_a_database_and_keeps_that`
//! * A copy, another home's database or none takes the place of a crashed one
//!   `generations::a_copy_in_the_place_of_a_crashed_database_is_used_without_the_log_of_the_old_one`
//!   `generations::another_homes_database_or_none_does_not_get_the_sessions_of_the_log`
//!   `generations::a_crash_at_any_moment_of_a_start_sets_no_log_aside`
//!   `generations::a_database_without_a_generation_keeps_its_log`
//! * A page of the database is corrupt
//!   `damage::a_corrupt_page_that_is_read_is_an_error_with_a_reason_and_costs_no_other_session`
//!   `damage::no_page_that_is_spoilt_makes_the_daemon_panic_or_hang`
//! * A read or a write meets a corrupt page
//!   `damage::a_store_that_was_met_damaged_says_so_until_it_is_found_whole`
//! * The database is overwritten while sessions write
//!   `damage::a_database_that_is_spoilt_while_sessions_write_ends_in_a_clear_state`
//! * `-shm` or `-wal` is garbage or missing after a crash
//!   `damage::after_a_crash_log_files_that_are_garbage_or_gone_cost_no_more_than_what_was_in_them`
//! * Another process holds the database
//!   `damage::a_database_that_another_process_holds_is_waited_for`
//! * The log cannot be copied, or a reader keeps it from starting again
//!   `checkpoints::floods_wait_while_a_reader_keeps_the_log_from_beginning_anew_and_nothing_else_does`
//!   `checkpoints::a_long_log_is_cut_at_the_next_commit_request_or_sweep_after_its_reader_has_gone`
//!   `checkpoints::a_disk_that_fails_while_the_log_is_copied_is_in_health_and_in_the_log`
//!   `checkpoints::a_disk_that_hangs_while_the_log_is_copied_keeps_nobody_waiting_below_the_bound`
//! * A store is copied or carried to another machine with live sessions in it
//!   `copies::a_copied_store_leaves_the_sessions_of_the_first_daemon_alone`
//!   `copies::processes_of_another_boot_or_namespace_or_of_nobody_are_left_alone`
//!   `copies::a_store_that_was_moved_after_a_crash_still_ends_what_the_dead_daemon_left`
//! * Output grows without end
//!   `retention::a_session_past_its_limit_keeps_its_beginning_and_its_newest_output`
//!   `retention::a_store_past_its_limit_loses_its_oldest_output_first_and_its_file_shrinks`
//!   `retention::output_reported_as_dropped_stays_gone_after_a_crash_and_no_other`
//! * The clock is wrong, or is set
//!   `clock::output_stays_when_the_clock_is_set_under_a_daemon`
//!   `clock::output_that_is_old_by_a_time_that_nobody_observed_goes_once_a_day_has_confirmed_it`
//!   `clock::everything_works_with_a_clock_that_is_before_1970`
//! * The socket, the lock, `daemon.json`, the log or `logs/` is removed or replaced
//!   `vanished::deleted_files_of_the_home_are_created_again_and_the_session_goes_on`
//!   `vanished::the_cli_has_a_daemon_that_has_not_noticed_yet_make_its_socket_anew`
//! * The database, its `-wal` or its `-shm` is removed or replaced
//!   `vanished::a_database_that_is_gone_or_replaced_is_said_and_saved_with_all_that_was_shown`
//!   `vanished::a_database_that_is_put_back_is_used_again`
//!   `vanished::a_copy_that_is_put_in_the_databases_place_is_not_harmed_when_the_daemon_then_dies`
//!   `vanished::a_stop_that_leaves_the_data_nowhere_fails`
//! * The home is moved
//!   `vanished::a_home_that_is_moved_is_followed`
//! * The home is deleted
//!   `vanished::a_home_that_is_deleted_ends_the_daemon_which_saves_the_database_beside_it`
//!   `vanished::a_home_that_is_removed_file_by_file_stays_removed`
//! * Another user tries to get in
//!   `trust::another_user_can_neither_connect_nor_read_anything`
//! * Files of the home are open to others, links, or another user's
//!   `trust::files_that_were_open_before_are_closed_at_start`
//!   `trust::links_in_the_place_of_the_daemons_files_are_refused`
//!   `trust::files_of_another_user_are_refused_with_the_chown_that_mends_it`
//! * Hundreds of clients ask for large answers and do not read them
//!   `hostile::clients_that_do_not_read_large_answers_share_their_memory_and_cost_others_nothing`
//! * Many clients send large requests
//!   `transport::large_requests_share_64_mib_and_small_ones_wait_for_nobody`
//! * Clients send random bytes, huge heads, lengths that lie, HTTP/0.9 or other encodings
//!   `hostile::ten_thousand_malformed_requests_leave_the_daemon_as_it_was`
//! * Clients hang up in the middle of a request or an answer
//!   `hostile::clients_that_hang_up_at_any_byte_cost_nothing`
//!   `connections::a_waiter_that_hangs_up_frees_its_place`
//! * Clients never finish a request, or read byte by byte
//!   `hostile::clients_that_never_come_to_an_end_are_let_go`
//!   `hostile::clients_that_send_and_read_byte_by_byte_are_served_and_cost_the_others_nothing`
//!   `hostile::followers_that_never_read_hold_no_session_back`
//!   `connections::clients_that_stall_cost_the_others_nothing`
//! * Clients stop in the middle of a long session
//!   `paging::clients_that_stop_in_the_middle_of_a_session_cost_little_memory`
//!   `paging::no_page_is_shown_of_a_session_that_has_been_deleted_meanwhile`
//!   `paging::no_output_is_shown_that_retention_has_taken_meanwhile`
//! * A thousand connections do nothing
//!   `limits::a_thousand_idle_connections_hold_nothing_up_once_they_are_gone`
//! * Processes of a killed session have left its group, its session, their environment and their parents
//!   `misbehaviour::a_kill_reaches_what_has_left_group_environment_and_parents`
//!   `misbehaviour::a_kill_leaves_the_processes_of_other_sessions_alone`
//!   `misbehaviour::a_daemon_that_was_started_inside_a_killed_session_lives_on_with_its_sessions`
//! * A wrapper is killed (`kill -9`), or helpers are left after exit 0
//!   `left_behind::all_that_a_harness_leaves_is_on_record_and_ended_by_a_sweep`
//!   `left_behind::a_sweep_after_a_crash_or_a_restart_ends_what_was_left_before`
//!   `left_behind::a_crash_or_a_stop_while_a_session_is_swept_leaves_nothing`
//! * Processes fork faster than they are found
//!   `misbehaviour::a_harness_that_forks_without_rest_is_ended`
//! * A harness leaves processes in the background that end later
//!   `misbehaviour::a_process_that_ends_in_the_background_leaves_no_zombie`
//! * A fork bomb runs within its user's limit
//!   `misbehaviour::a_fork_bomb_within_its_users_limit_is_ended`
//! * Harnesses print without a newline or not at all, print NULs or broken UTF-8, never read, or exit at once
//!   `misbehaviour::the_daemon_stays_small_with_floods_and_with_harnesses_that_never_read`
//! * A title, a prompt or a harness's id holds escape sequences
//!   `trust::no_prompt_title_or_harness_id_can_forge_what_a_terminal_shows`
//! * Descriptors run out (`ulimit -n`)
//!   `limits::when_descriptors_run_out_launches_fail_and_say_why_and_clients_are_still_answered`
//! * Processes run out (`ulimit -u`)
//!   `limits::when_processes_run_out_launches_fail_and_say_why_and_clients_are_still_answered`
//! * Address space runs out (`ulimit -v`)
//!   `limits::when_address_space_runs_out_launches_fail_and_say_why_and_sessions_go_on`
//! * Memory runs out in the control group or on the machine
//!   `limits::the_kernel_takes_a_harness_before_the_daemon_when_memory_runs_out`
//!   `oom::a_harness_that_the_kernel_kills_for_memory_is_said_to_be`
//!   `oom::a_harness_that_has_moved_to_a_group_of_its_own_is_told_of_too`
//!   `oom::a_harness_keeps_the_score_that_it_gives_itself`
//! * The kernel is older than Linux 5.3, or a sandbox refuses `pidfd_open`
//!   `old_kernels::sessions_run_end_and_are_killed_without_descriptors_for_processes`
//!   `old_kernels::processes_of_a_dead_daemon_are_ended_without_pidfds`

mod support;

mod adapters;
mod attach;
mod checkpoints;
mod cli;
mod cli_errors;
mod clock;
mod completions;
mod connections;
mod conversations;
mod copies;
mod costs;
mod daemon;
mod daemon_logs;
mod damage;
mod diagnostics;
mod disk_full;
mod doctor;
mod endings;
mod environment;
mod errors;
mod events;
mod export;
mod failed_start;
mod failures;
mod forwarded;
mod generations;
mod habits;
mod help;
mod home;
mod hostile;
mod input;
mod install;
mod journal;
mod json;
mod late;
mod left_behind;
mod limits;
mod live;
mod log;
mod logs;
mod maintained;
mod metrics;
mod misbehaviour;
mod old_kernels;
mod on_end;
mod oom;
mod openapi;
mod orphans;
mod output;
mod package;
mod paging;
mod permission;
mod pipes;
mod preview;
mod process;
mod programs;
mod prompts;
mod readme;
mod real;
mod redacted_fields;
mod redaction;
mod release;
mod remote;
mod rerun;
mod resources;
mod retention;
mod run;
mod serve;
mod sessions;
mod startable;
mod stop;
mod store;
mod streams;
mod supervised;
mod symptoms;
mod tables;
mod transport;
mod trust;
mod units;
mod upgrade;
mod upgrade_clients;
mod upgrade_ends;
mod upgrade_failures;
mod upgrade_state;
mod usage;
mod vanished;
