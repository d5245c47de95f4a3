#!/usr/bin/env bash
# Runs a job of Sapporo, in place of its own script, which starts an engine in Docker: here the workflow is a shell script.
# Sapporo calls it with the run's folder, and looks there for run.pid, state.txt, times, exit_code.txt, logs and outputs.
set -u
set -m
run=$1
child=

note() { printf '%s\n' "$2" > "$run/$1"; }
now() { date -u +%Y-%m-%dT%H:%M:%S; }
finish() {
  note exit_code.txt "$1"
  note end_time.txt "$(now)"
  note state.txt "$2"
  exit 0
}
cancel() {
  note state.txt CANCELING
  [ -n "$child" ] && kill -TERM -- "-$child" 2> /dev/null && wait "$child"
  finish 138 CANCELED
}
trap cancel USR1

note run.pid $$
script=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["workflow_url"])' "$run/run_request.json")
mkdir -p "$run/outputs"
cd "$run/exe" || finish 1 SYSTEM_ERROR
OUTPUT_FOLDER=$run/outputs sh "$(basename "$script")" > "$run/stdout.log" 2> "$run/stderr.log" &
child=$!
note start_time.txt "$(now)"
note state.txt RUNNING # not before there is something that a cancellation can end
wait "$child"
code=$?
"$SAPPORO_CLI" dump-outputs "$run" 2>> "$run/stderr.log"
if [ "$code" = 0 ]; then finish 0 COMPLETE; else finish "$code" EXECUTOR_ERROR; fi
