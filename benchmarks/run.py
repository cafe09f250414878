"""Takes every figure but detection, prints one table and keeps it in benchmarks/results.json."""

import check_cpu
import check_throughput
import cold_start
import hung_checks
import many_checks
import memory
import probe
import refresh_storm
import smoke_test
from processes import HERE
from report import main

if __name__ == "__main__":
    main(
        {
            "Check throughput": check_throughput.rows,
            "CPU per Check": check_cpu.rows,
            "SmokeTest throughput": smoke_test.rows,
            "memory": memory.rows,
            "cold start": cold_start.rows,
            "probe": probe.rows,
            "refresh storm": refresh_storm.rows,
            "many checks": many_checks.rows,
            "hung checks": hung_checks.rows,
        },
        HERE / "results.json",
    )
