"""Classical potentials on the device, alone or under a network: csrc/cuda/sw.cu, pairpot.cu."""

import numpy as np

COULOMB = 14.39964547842567  # e^2 / (4 pi eps0) in eV Å, CODATA 2018: as csrc/baseline_impl.h
SW = ("epsilon", "sigma", "a", "lambda", "gamma", "cos_theta0", "A", "B", "p", "q")


class Baseline:
    """The terms of a model's baseline. Falsy where there are none."""

    def __init__(self, backend, model, precision):
        self.backend, self.precision = backend, precision
        self.terms = [self._term(term, model) for term in model.baseline]

    def __bool__(self):
        return bool(self.terms)

    def _term(self, term, model):
        species = model.species
        parameter, kinds = [], [species.index(s) for s in term.get("species", [])]
        if term["kind"] == "sw":
            file, kernel = "cuda/sw.cu", "nnp_sw_rows"
            parameter = [term[key] for key in SW]
        elif term["kind"] == "lj":
            file, kernel = "cuda/pairpot.cu", "nnp_lj_rows"
            parameter = [term[key] for key in ("epsilon", "sigma", "switch_on", "cutoff")]
        else:
            file, kernel, kinds = "cuda/pairpot.cu", "nnp_zbl_rows", [len(species)]
            parameter = [term["inner"], term["outer"]]
            z = [float(number) for number in model.numbers]
            for zi in z:
                for zj in z:
                    parameter += [COULOMB * zi * zj, (zi**0.23 + zj**0.23) / 0.46850]
        return file, kernel, [np.int32(k) for k in kinds], self.backend.device(parameter, np.float64)

    def evaluate(self, system, energy, gradient, add=False):
        """Energy [n] (float64, eV) and gradient [3, entries] of all terms: added to what is there, or, with add
        False, written; without terms and add, zeros."""
        if not self.terms and not add:
            energy[...] = 0
            gradient[...] = 0
        for k, (file, kernel, kinds, parameter) in enumerate(self.terms):
            more = np.int32(1 if add or k else 0)
            arguments = (*system.list_arguments(), np.float64(system.clash), more, energy, gradient, system.status)
            self.backend.launch(file, kernel, system.n, (*arguments, *kinds, parameter), self.precision)
