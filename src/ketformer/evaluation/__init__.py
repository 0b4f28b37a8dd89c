"""Measuring a trained model: losses, samples, attention, circuits with shots and noise."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.evaluation.attention import (
        attention_map as attention_map,
        attention_weights as attention_weights,
        draw_attention as draw_attention,
    )
    from ketformer.evaluation.backend import evaluate_on_backend as evaluate_on_backend
    from ketformer.evaluation.circuits import (
        gradient_study as gradient_study,
        noise_study as noise_study,
    )
    from ketformer.evaluation.dispatch import (
        evaluate as evaluate,
        save_evaluation as save_evaluation,
    )
    from ketformer.evaluation.mitigation import mitigation_study as mitigation_study
    from ketformer.evaluation.molecules import evaluate_molecules as evaluate_molecules
    from ketformer.evaluation.moses import evaluate_samples as evaluate_samples
    from ketformer.evaluation.shot_search import shots_within as shots_within
    from ketformer.evaluation.text import evaluate_text as evaluate_text

__getattr__, __dir__, __all__ = lazily(__name__)
