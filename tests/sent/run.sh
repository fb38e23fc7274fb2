#!/bin/sh
# run.sh ENGINE PROGRAM: runs it with 1, 2 and 8 cpus; each run must say "ok" and nothing else.
export LIBCR_ENGINE="$1" LIBCR_ON_DEADLOCK=abort
for cpus in 1 2 8; do
  said=$(LIBCR_CPUS=$cpus timeout 70 "$2" 2>&1)
  status=$?
  [ "$status $said" = "0 ok" ] && continue
  echo "$cpus cpus, status $status: $said"
  exit 1
done
