"""Conditions that deny a label, where `label` is any of an image's labels: they say not what they seem to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabatch.errors import ConfigurationError
from anabatch.store.conditions import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_NULL = frozenset({"OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"})
# What may stand around `label` where a condition affirms one of the labels.
_AFFIRMING = _OF_NULL | frozenset(
    {
        "COMPARE_EQUAL",
        "COMPARE_NOT_DISTINCT_FROM",
        "COMPARE_LESSTHAN",
        "COMPARE_LESSTHANOREQUALTO",
        "COMPARE_GREATERTHAN",
        "COMPARE_GREATERTHANOREQUALTO",
        "COMPARE_BETWEEN",
        "COMPARE_IN",
        "COLUMN_REF",
    }
)
_OF_THE_TEXT = frozenset({"FUNCTION", "COLUMN_REF", "CAST", "COLLATE"})
# Functions that say of a text whether it is of a kind; of `label`, they may stand alone.
_KINDS = frozenset(
    {"~~", "~~*", "~~~", "^@", "like_escape", "ilike_escape", "regexp_matches", "regexp_full_match"}
    | {"starts_with", "prefix", "ends_with", "suffix", "contains"}
    | {"list_contains", "list_has", "array_contains", "array_has"}
)
# Functions that give a text, of which a comparison says as much as of `label` itself. What else is told
# of a text can deny, as instr(label, 'x') = 0 does; so can what removes some of it wherever it stands.
_TEXTS = frozenset(
    {"lower", "lcase", "upper", "ucase", "strip_accents", "nfc_normalize", "||", "concat"}
    | {"trim", "ltrim", "rtrim", "substring", "substr", "left", "right"}
)
_NOT_LIKE = frozenset({"!~~", "!~~*"})
_EQUALITY = frozenset(
    {"COMPARE_EQUAL", "COMPARE_NOTEQUAL", "COMPARE_IN", "COMPARE_NOT_IN"}
    | {"COMPARE_DISTINCT_FROM", "COMPARE_NOT_DISTINCT_FROM"}
)


def refuse_denials(where: str, condition: dict[str, Any]) -> None:
    """Refuse conditions that deny a label.

    Parameters
    ----------
    where : str
    condition : dict
        The condition's tree, as :func:`anabatch.store.conditions.parsed` gives it.

    Raises
    ------
    ConfigurationError
        It holds for images that have another label as well.
    """
    for term in terms(of_columns(condition)):
        if names_label(term) and not _affirms(term):
            strange = [name for name in _functions(term) if name not in _KINDS | _TEXTS | _NOT_LIKE]
            denies = f"may deny a label with {strange[0]}()" if strange else "denies a label"
            what = (
                f"{where!r} {denies}: label is any of an image's labels, and this would take "
                "every image that has another one as well"
            )
            held = " For those with it, as: contains(label, '...')." if strange else ""
            raise ConfigurationError(what, f"For images without it{_without(term)}.{held}")


def of_columns(tree: Any) -> Any:
    """Return a tree without those lambdas whose parameter is called `label`: theirs is no column.

    Parameters
    ----------
    tree : dict or list
        As :func:`anabatch.store.conditions.parsed` gives it, or a part of it.
    """
    if isinstance(tree, list):
        return [of_columns(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    # label -> '$' has the class of a lambda too, and takes JSON of the column
    a_lambda = tree.get("syntax_type") == "LAMBDA_KEYWORD"
    if a_lambda and names_label(tree["lhs"]):
        return {}
    return {key: of_columns(item) for key, item in tree.items()}


def terms(condition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what AND and OR join."""
    if condition.get("class") != "CONJUNCTION":
        yield condition
        return
    for child in condition["children"]:
        yield from terms(child)


def names_label(tree: Any) -> bool:
    """Whether a tree names `label`; a parameter of a lambda as well, unless it was taken out.

    Parameters
    ----------
    tree : dict
        As :func:`anabatch.store.conditions.parsed` gives it, or a part of it.
    """
    return any(
        node.get("column_names", [""])[-1].lower() == "label"
        or node.get("schema", "").lower() == "label"  # label.lower() is lower(label)
        for node in nodes(tree)
    )


def _functions(tree: dict[str, Any]) -> list[str]:
    """Return the names of the functions of `label`."""
    of_label = (node for node in nodes(tree) if node["class"] == "FUNCTION" and names_label(node))
    return [node["function_name"].lower() for node in of_label]


def _affirms(term: dict[str, Any]) -> bool:
    """Whether a term that names `label` holds for those images alone that have a label of a kind."""
    first, *inner = nodes(term)
    if first["type"] == "OPERATOR_NOT":  # NOT label IS NULL is label IS NOT NULL
        return inner[0]["type"] in _OF_NULL and _affirms(inner[0])
    functions = _functions(term)
    if first["class"] == "FUNCTION":
        if functions.pop(0) not in _KINDS:
            return False
    elif first["type"] not in _AFFIRMING:
        return False
    if any(node["class"] not in _OF_THE_TEXT for node in inner if names_label(node)):
        return False
    of_truth = any(node.get("literal", {}).get("kind") == "BOOLEAN" for node in inner)
    return not of_truth and _TEXTS.issuperset(functions)


def _without(term: dict[str, Any]) -> str:
    """Return the condition that was probably meant, or how one looks where no label is named in full."""
    quoted = ["'" + label.replace("'", "''") + "'" for label in _labels(term)]
    if not quoted:
        return ", as: NOT list_contains(labels, '...')"
    if len(quoted) == 1:
        return f": NOT list_contains(labels, {quoted[0]})"
    return f": NOT list_has_any(labels, [{', '.join(quoted)}])"


def _labels(term: dict[str, Any]) -> list[str]:
    """Return the labels that a term compares `label` with; none where it asks for more than equality."""
    compared = [node for node in nodes(term) if node["type"].startswith("COMPARE_")]
    compared = [node for node in compared if names_label(node)]
    # of (label = 'x') = FALSE, the inner one
    compared = [
        node for node in compared if not any(item in compared for item in list(nodes(node))[1:])
    ]
    computed = any(node["class"] in {"FUNCTION", "LAMBDA"} for node in nodes(term))
    if computed or any(node["type"] not in _EQUALITY for node in compared):
        return []
    literals = [inner.get("literal", {}) for node in compared for inner in nodes(node)]
    texts = [str(item["text"]) for item in literals if item.get("kind") == "STRING"]
    return list(dict.fromkeys(texts))
