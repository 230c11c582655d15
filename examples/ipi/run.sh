#!/bin/sh
# Path-integral molecular dynamics of silicon: i-PI moves 16 beads, nnpcore computes their forces. About 30 s.
#   pip install nnpcore[ase] ipi && sh run.sh
set -e
python start.py
i-pi input.xml >si.log 2>&1 &
nnpcore ipi si.nnp --unix si --structure start.xyz # waits for i-PI; several of these share the beads
wait
# quantum kinetic energy of the second half of the run, per atom; classical 3/2 kT = 38.8 meV
awk '!/^#/ && $1 >= 250 { n++; k += $5 } END { printf "kinetic energy %.1f meV per atom\n", 1000 * k / n / 64 }' si.out
