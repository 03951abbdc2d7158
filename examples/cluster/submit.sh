#!/bin/bash
# From the login node to the report: an array that embeds, and one job behind it. Prints the number of the last job.
#
#   bash examples/cluster/submit.sh my/cohort.yaml my/store runs/first 16
#
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
genebrain check cohort.path="$1"
array="$(sbatch --parsable --array="1-${4:-8}" "$here/embed.sbatch" "$1" "$2")"
sbatch --parsable --dependency="afterany:$array" "$here/align.sbatch" "$1" "$2" "$3"
