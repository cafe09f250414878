"""Takes every figure in one run, prints one table and keeps it in benchmarks/results.json."""

import check_cpu
import check_throughput
import cold_start
import memory
import probe
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
        },
        HERE / "results.json",
    )
