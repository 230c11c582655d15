"""The training loop: batches, loss with bounded exponents, Adam, validation, best model, exact resume.

    result = Training(model, frames, valid, settings).run(callback)     # in memory: nothing is written

The loss and its gradient come from the C core (csrc/nnpcore.h, nnp_trainer_gradient), or the same from the GPU
(nnpcore/gpu/train.py); the bound on the exponents, R = w sum max(0, phi - bound)^2 over alpha, a, b and beta, is added
here.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np

from . import checkpoint, config, data, initial, kalman, schedule
from .adam import clip, make_optimizer, turn_on_cpu
from .evaluate import Labels, loss_terms, strict_json, summary
from .progress import Progress
from .training_state import (
    EXPONENT_LIMIT,
    FREE,
    HEADER,
    WEIGHT_LIMIT,
    Diverged,
    Result,
    State,
    bound_penalty,
    changed,
    read_metrics,
)

PREDICT_CHUNK = 32  # frames predicted between two looks at signals


def make_trainer(model, threads, precision, device="cpu"):
    """What has the loss and its gradient for a model, whose architecture, E0 and baseline it takes: the C core's
    trainer, or gpu.train.Trainer, which has its interface."""
    if device == "gpu":
        from .gpu.train import Trainer

        return Trainer(model, precision)
    from ._core import Trainer

    return Trainer(model.to_bytes(), threads, {"float64": 0, "float32": 1}[precision])


def make_turn(device):
    """What turns vectors into an optimiser's basis on a device (adam.EigenAdam)."""
    if device == "gpu":
        from .gpu.train import Turn

        return Turn()
    return turn_on_cpu


class Training:
    """One training run. `model` gives architecture, E0, baseline and first weights.

    train_frames, valid_frames: lists of data.Frame; without validation frames the training frames are validated on.
    settings: config.TrainConfig (its [data] and [model] are not used here). folder: run folder, locked while the object
    lives (close() or `with` ends that) unless the caller brings the lock, or None to write nothing.
    """

    def __init__(self, model, train_frames, valid_frames, settings, folder=None, quiet=False, lock=None):
        if not train_frames:
            raise data.DataError("no training frames")
        empty = [f for f in [*train_frames, *valid_frames] if not len(f)]
        if empty:
            raise data.DataError(f"frames without atoms: {data.names(empty)}")
        self.model, self.config, self.quiet = model, settings.check(), quiet
        self.train_frames, self.valid_frames = list(train_frames), list(valid_frames) or list(train_frames)
        self.hash = data.fingerprint(self.train_frames + list(valid_frames))
        self._fill_trainer(list(valid_frames))
        n, n_valid = len(self.train_frames), len(list(valid_frames))
        self.separate_validation = n_valid > 0
        self.valid_indices = np.arange(n, n + n_valid, dtype=np.int32) if n_valid else np.arange(n, dtype=np.int32)
        self.labels = Labels(self.valid_frames)
        self.exponents = model.exponents
        reach = max(EXPONENT_LIMIT, np.abs(model.theta[self.exponents]).max(initial=0.0))
        self.reach = np.where(self.exponents, reach, np.inf)
        self.n_batches = -(-n // settings.train.batch)
        theta = np.array(model.theta, dtype=np.float64)
        self.state = State(
            theta=theta,
            optimizer=self._optimizer(model),
            average=theta.copy(),
            best=theta.copy(),
            order=self._shuffled(0),
            sums=np.zeros(5),
        )
        self.history, self.stop_signal, self.saved_at, self.lr = [], None, -1e300, 0.0
        self.folder = None if folder is None else Path(folder)
        self.lock = checkpoint.FolderLock(folder) if folder is not None and lock is None else lock

    def _optimizer(self, model):
        o, settings = self.config.optimizer, self.config.train
        if o.kind == "kalman":
            return kalman.Kalman(model, o, settings.threads)
        return make_optimizer(model, o, make_turn(settings.device))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _fill_trainer(self, valid_frames):
        settings = self.config.train
        self.trainer = make_trainer(self.model, settings.threads, settings.precision, settings.device)
        for frame in self.train_frames + valid_frames:
            initial.add_frame(self.trainer, self.model, frame)

    def initialise(self):
        """Starting values that suit the training frames, for a new model: nnpcore/initial.py."""
        settings = self.config.train

        def empty(model):  # on the CPU always: equal candidates are told apart by their last bits
            return make_trainer(model, settings.threads, settings.precision)

        self.model = initial.initialise(self.model, self.train_frames, settings.seed, empty)
        if self.model.method == "bp":  # the scaling of the inputs is part of the architecture
            self._fill_trainer(self.valid_frames if self.separate_validation else [])
        theta = np.array(self.model.theta, dtype=np.float64)
        self.state.theta, self.state.average, self.state.best = theta, theta.copy(), theta.copy()

    def close(self):
        """Give the run folder back."""
        if self.lock is not None:
            self.lock.release()

    # ---- the loop ----

    def run(self, callback=None):
        """Train to the end, or until a signal or a true value of callback(row), called at each validation.

        row: {column of metrics.csv: number}. Returns a Result; raises Diverged, and OSError with the path where the
        folder cannot be written. On SIGINT and SIGTERM the step is finished and a checkpoint written.
        """
        settings, s = self.config.train, self.state
        if self.model.method == "bp" and settings.device == "cpu":  # fixed functions; the clock starts behind it
            self.trainer.keep(int(settings.cache_memory * 1e6))
        self.began = time.monotonic() - s.elapsed
        total, unit = (settings.epochs, "epoch") if settings.epochs else (settings.max_seconds, "s")
        log_path = self.folder and self.folder / "train.log"
        self.progress = Progress(total, unit, log_path, self.quiet, done=self._done())
        try:
            with self._signals():
                if self.folder and s.optimizer.step == 0:
                    self._begin_metrics()
                    self._save()
                stopped = self._loop(callback)
                self._end(stopped)
        finally:
            self.progress.close()
        signum = self.stop_signal if stopped == "signal" else None
        return Result(self.best_model(), s.best_score, s.best_epoch, self.history, stopped, signum)

    def _loop(self, callback):
        """Steps until there is a reason to stop; returns it."""
        s = self.state
        while not (stopped := self._finished()):
            self._step()
            if s.batch == self.n_batches and self._end_epoch(callback):
                return "callback"
            if self.stop_signal:
                return "signal"
            if s.batch and self._finished():  # cut by time in mid-epoch: the last weights are tried too
                self._validate(callback)
            elif self.folder and time.monotonic() - self.saved_at >= self.config.train.checkpoint_seconds:
                self._save()
        return stopped

    def _step(self):
        """One batch: gradient, bound, Adam; or the Kalman filter's updates."""
        s, c = self.state, self.config
        _, progress = self._position()
        chosen = s.order[s.batch * c.train.batch : (s.batch + 1) * c.train.batch].astype(np.int32)
        propose = self._kalman if c.optimizer.kind == "kalman" else self._descend
        theta, terms, penalty = propose(chosen, progress)
        largest = np.abs(theta[~self.exponents]).max(initial=0.0)
        if not largest < WEIGHT_LIMIT:
            s.optimizer.step -= 1  # not taken
            self._diverged(chosen, f"a weight of {largest:.3g}")
        s.theta = np.clip(theta, -self.reach, self.reach)
        if c.train.ema > 0:
            # the usual warm-up of the decay: an average over the first steps should not remember the start
            decay = min(c.train.ema, (1 + s.optimizer.step) / (10 + s.optimizer.step))
            s.average = decay * s.average + (1 - decay) * s.theta
        else:
            s.average = s.theta
        s.sums = s.sums + np.append(terms, penalty) * len(chosen)
        s.batch += 1

    def _descend(self, chosen, progress):
        """(theta after a step of Adam, loss terms, bound) of a batch."""
        s, c = self.state, self.config
        self._turn(progress)
        terms, grad = self._gradient(chosen, self._loss(progress))
        penalty, dpenalty = bound_penalty(s.theta, self.exponents, c.loss.bound, c.loss.bound_weight)
        grad = grad + dpenalty
        self.lr = self._rate() * schedule.factor(c.schedule, self._position()[0], progress, c.train.epochs)
        if not (np.isfinite(terms).all() and np.isfinite(grad).all()):
            self._diverged(chosen, f"loss {terms[0]}")
        return s.optimizer.update(s.theta, clip(grad, c.optimizer.clip), self.lr), terms, penalty

    def _kalman(self, chosen, progress):
        """(theta after the filter has seen every frame of a batch, loss terms before, bound)."""
        s, c = self.state, self.config
        loss, self.lr = self._loss(progress), 1.0
        terms, _ = self.trainer.gradient(s.theta, chosen, with_gradient=False, **loss)
        penalty, _ = bound_penalty(s.theta, self.exponents, c.loss.bound, c.loss.bound_weight)
        generator = np.random.Generator(np.random.Philox(key=[c.train.seed, 2**61 + s.optimizer.step]))
        try:
            theta = s.theta
            for i in chosen:
                frame = self.train_frames[i]
                theta = s.optimizer.learn(self.trainer, theta, int(i), frame, loss, generator, progress)
        except RuntimeError as error:
            if getattr(error, "code", None) == 8:  # NNP_ERR_DIVERGED
                self._diverged(chosen, str(error))
            raise
        if not (np.isfinite(terms).all() and np.isfinite(theta).all()):
            self._diverged(chosen, f"loss {terms[0]}")
        s.optimizer.step += 1
        return theta, terms, penalty

    def _rate(self):
        """Learning rate before the schedule's factor; plain Adam has its own until the first basis."""
        o, s = self.config.optimizer, self.state.optimizer
        if o.kind == "eigen" and not s.turned:
            return o.first_lr * min(1.0, (s.step + 1) / s.WARMUP)
        return o.rate()

    def _turn(self, progress):
        """A new basis where one is due: the Gauss-Newton matrix of the loss from random projections."""
        o, s = self.config.optimizer, self.state.optimizer
        since = s.step - o.first_steps
        if o.kind != "eigen" or since < 0 or since % o.basis_steps:
            return
        loss = {k: v for k, v in self._loss(progress).items() if k.startswith("w_")}
        largest = max(b.stop - b.start for b in s.blocks)
        matrices = [np.zeros((b.stop - b.start,) * 2) for b in s.blocks]
        generator = np.random.Generator(np.random.Philox(key=[self.config.train.seed, 2**62 + s.step]))
        frames = np.arange(len(self.train_frames), dtype=np.int32)
        wanted = 3 * largest  # projections: the estimate's rank, three times over
        while wanted > 0:
            chosen = np.ascontiguousarray(generator.permutation(frames)[: min(wanted, 512)])
            wanted -= len(chosen)
            rows = self.trainer.sketch(self.state.theta, chosen, int(generator.integers(2**63)), **loss)
            for matrix, block in zip(matrices, s.blocks, strict=True):
                part = rows[:, block]
                matrix += part.T @ part
        s.set_basis(matrices)

    def _gradient(self, chosen, loss):
        try:
            return self.trainer.gradient(self.state.theta, chosen, **loss)
        except RuntimeError as error:
            if getattr(error, "code", None) == 8:  # NNP_ERR_DIVERGED
                self._diverged(chosen, str(error))
            raise

    def _diverged(self, chosen, why):
        frames = data.names([self.train_frames[i] for i in chosen])
        kept = (
            f"; {self.folder / 'last.ckpt'} and best.nnp (epoch {self.state.best_epoch:g}) are kept"
            if self.folder
            else ""
        )
        text = (
            f"diverged at step {self.state.optimizer.step + 1}, learning rate {self.lr:.3g}, on {frames}: {why}{kept}"
        )
        self.progress.line(text)
        raise Diverged(text)

    def _end_epoch(self, callback):
        """Count the epoch, validate when due; true where the callback wants to stop."""
        s = self.state
        s.epoch, s.batch = s.epoch + 1, 0
        last = self.config.train.epochs is not None and s.epoch >= self.config.train.epochs
        stop = False
        if last or s.epoch % self.config.train.validate_every == 0:
            stop = self._validate(callback)
        s.order, s.sums = self._shuffled(s.epoch), np.zeros(5)
        self.progress.update(self._done())
        return bool(stop)

    def _end(self, stopped):
        """Last checkpoint, last words."""
        if not self.folder:
            return
        self._save()
        if stopped == "signal":
            name = signal.Signals(self.stop_signal).name
            self.progress.line(f"{name}: stopped at step {self.state.optimizer.step}; --resume goes on from here")
        else:
            score = f"validation loss {self.state.best_score:.6g} at epoch {self.state.best_epoch:g}"
            self.progress.line(f"done: {score}; model in {self.folder / 'best.nnp'}")

    def _validate(self, callback):
        """Errors on the validation frames with the averaged weights; keeps the best; one row of metrics.csv."""
        s = self.state
        theta = s.average
        differences = self.labels.differences(*self.predict(self.valid_indices, theta))
        valid = loss_terms(self.labels, differences, self._loss(1.0))
        epoch = s.epoch + s.batch / self.n_batches
        n_seen = max(min(s.batch * self.config.train.batch, len(self.train_frames)) or len(self.train_frames), 1)
        mean = s.sums / n_seen
        better = bool(np.isfinite(valid[0]) and valid[0] < s.best_score)
        numbers = [epoch, s.optimizer.step, self.lr, *mean, *valid, *summary(differences).values(), int(better)]
        # rounded here, so that a row read back from metrics.csv is the same row
        row = {name: float(f"{float(value):.9g}") for name, value in zip(HEADER, numbers, strict=True)}
        if better:
            s.best, s.best_score, s.best_epoch = theta, float(valid[0]), row["epoch[1]"]
            if self.folder:
                checkpoint.write_atomic(self.folder / "best.nnp", self.best_model(row).to_bytes())
        self.history.append(row)
        if self.folder:
            self._append_metrics(row)
        self._report(row)
        return callback(row) if callback else False

    def predict(self, indices, theta):
        """(energies [B], forces [sum n][3], stresses [B][6]) of frames of the trainer."""
        parts = []
        for i in range(0, len(indices), PREDICT_CHUNK):
            parts.append(self.trainer.predict(theta, np.ascontiguousarray(indices[i : i + PREDICT_CHUNK])))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def best_model(self, row=None):
        """The model with the best weights so far; its metadata tell what it was trained on and how well."""
        s = self.state
        row = row or next((r for r in self.history if r["epoch[1]"] == s.best_epoch), None)
        training = {
            "epoch": s.best_epoch,
            "frames": len(self.train_frames),
            "atoms": int(sum(len(f) for f in self.train_frames)),
            "data_sha256": self.hash,
            "validation": {k[6:]: v for k, v in (row or {}).items() if k.startswith("valid_")},
        }
        return self.model.replace(theta=s.best, info={**self.model.info, "training": strict_json(training)})

    # ---- where a run stands ----

    def _position(self):
        """(epoch as a real number, progress 0 .. 1 of the run)."""
        s, settings = self.state, self.config.train
        epoch = s.epoch + s.batch / self.n_batches
        if settings.epochs is not None:
            return epoch, epoch / settings.epochs
        return epoch, min((time.monotonic() - self.began) / settings.max_seconds, 1.0)

    def _done(self):
        s = self.state
        if self.config.train.epochs is not None:
            return s.epoch + s.batch / self.n_batches
        return time.monotonic() - self.began

    def _finished(self):
        """ "epochs" or "seconds" when that many are spent, else None."""
        settings = self.config.train
        if settings.epochs is not None and self.state.epoch >= settings.epochs:
            return "epochs"
        if settings.max_seconds is not None and time.monotonic() - self.began >= settings.max_seconds:
            return "seconds"
        return None

    def _loss(self, progress):
        """Arguments of Trainer.gradient() at this point of the run."""
        c = self.config.loss
        weights = {f"w_{q}": schedule.ramp(getattr(c, q), progress) for q in ("energy", "force", "stress")}
        deltas = {f"delta_{q}": getattr(c, f"delta_{q}") for q in ("energy", "force", "stress")}
        return {"kind": {"square": 0, "huber": 1}[c.kind], **weights, **deltas}

    def _shuffled(self, epoch):
        """Order of the training frames in an epoch: Philox keyed by seed and epoch (0 is data.split()'s)."""
        generator = np.random.Generator(np.random.Philox(key=[self.config.train.seed, epoch + 1]))
        return generator.permutation(len(self.train_frames)).astype(np.int64)

    # ---- files ----

    def _begin_metrics(self):
        text = (",".join(HEADER) + "\n").encode()
        checkpoint.write_atomic(self.folder / "metrics.csv", text)
        self.state.metrics_bytes = len(text)

    def _append_metrics(self, row):
        """One line, on disk before any checkpoint counts it."""
        line = ",".join(f"{row[name]:.9g}" for name in HEADER) + "\n"
        path = self.folder / "metrics.csv"
        try:
            with open(path, "ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise type(error)(error.errno, f"cannot write: {error.strerror}", str(path)) from error
        self.state.metrics_bytes += len(line)

    def _settings(self):
        """The configuration as far as it decides the path of the weights."""
        table = msgspec.to_builtins(self.config)
        return {k: {n: v for n, v in t.items() if n not in FREE.get(k, ())} for k, t in table.items() if t is not None}

    def _save(self):
        s = self.state
        counters = s.counters()
        if self.config.train.max_seconds is not None:
            counters["elapsed"] = time.monotonic() - self.began
        state = {"kind": "training", "schema": 1, "config": self._settings(), "data": self.hash, "counters": counters}
        arrays = {**s.arrays(), "model": np.frombuffer(self.model.to_bytes(), dtype=np.uint8)}
        checkpoint.save(self.folder / "last.ckpt", arrays, state)
        self.saved_at = time.monotonic()

    def resume(self):
        """Take up the run of the folder; false where it has no checkpoint yet. Raises CheckpointError, ConfigError.

        metrics.csv is cut back to what the checkpoint knows, best.nnp is written again from it.
        """
        try:
            arrays, state, path = checkpoint.load(self.folder / "last.ckpt")
        except FileNotFoundError:
            return False
        if state.get("kind") != "training" or state.get("schema") != 1:
            raise checkpoint.CheckpointError(f"{path}: not a training checkpoint of schema 1")
        if state["data"] != self.hash:
            raise config.ConfigError(f"{path}: the training or validation data are not those the run began with")
        different = changed(state["config"], msgspec.to_builtins(self._settings()))
        if different:
            raise config.ConfigError(f"{path}: cannot resume with another {', '.join(different)}")
        if bytes(arrays["model"]) != self.model.to_bytes():
            self.model = type(self.model).from_bytes(bytes(arrays["model"]))
            self._fill_trainer(self.valid_frames if self.separate_validation else [])
        self.state.restore(arrays, state["counters"])
        self._restore_metrics()
        if np.isfinite(self.state.best_score):
            checkpoint.write_atomic(self.folder / "best.nnp", self.best_model().to_bytes())
        return True

    def _restore_metrics(self):
        path, size = self.folder / "metrics.csv", self.state.metrics_bytes
        content = path.read_bytes()[:size] if path.exists() else b""
        if len(content) < size:
            print(f"{path}: earlier rows are lost, begun anew", file=sys.stderr)
            content = (",".join(HEADER) + "\n").encode()
            self.state.metrics_bytes = len(content)
        checkpoint.write_atomic(path, content)
        self.history = read_metrics(path)

    # ---- signals and messages ----

    @contextlib.contextmanager
    def _signals(self):
        """SIGINT and SIGTERM ask the loop to stop after the step; a second one acts as it always did."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        old = {}

        def ask(signum, _frame):
            self.stop_signal = signum
            signal.signal(signum, old[signum])

        for signum in (signal.SIGINT, signal.SIGTERM):
            old[signum] = signal.signal(signum, ask)
        try:
            yield
        finally:
            for signum, handler in old.items():
                signal.signal(signum, handler)

    def _report(self, row):
        parts = [f"epoch {row['epoch[1]']:g}", f"step {row['step[1]']:.0f}", f"lr {row['learning_rate[1]']:.2e}"]
        parts.append(f"loss {row['train_loss[1]']:.3e} valid {row['valid_loss[1]']:.3e}")
        for name, unit in (("rmse_energy", "meV/atom"), ("rmse_force", "meV/A"), ("rmse_stress", "GPa")):
            value = row[f"valid_{name}[{unit}]"]
            if np.isfinite(value):
                parts.append(f"{name[5:6].upper()} {value:.4g} {unit}")
        text = "  ".join(parts) + ("  *" if row["best[1]"] else "")
        self.progress.line(f"{text}  {self.progress.eta(self._done())}".rstrip(), always=False)
        self.progress.update(self._done(), text)
