"""Where sentences begin, in languages with and without spaces."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def sentence_starts(text: str, language: str = "en") -> npt.NDArray[np.int64]:
    """Return the character offsets at which sentences begin, by the library ``sentencex``.

    Parameters
    ----------
    text : str
        Text of any length; line breaks that part paragraphs part sentences as well.
    language : str, default "en"
        Language whose abbreviations are known, as a BCP 47 code; the marks that end a sentence are
        known for all languages at once.

    Returns
    -------
    numpy.ndarray
        int64, ascending, the first is 0.

    Examples
    --------
    >>> sentence_starts("Dr. Roe left. 他走了。她也走了。").tolist()
    [0, 14, 18]
    """
    import sentencex

    found = sentencex.get_sentence_boundaries(language.split("-")[0].lower(), text)
    starts = np.array([0, *(sentence["start_index"] for sentence in found)], dtype=np.int64)
    return np.unique(starts)
