"""No requirement about something else asks with a request field that only vLLM knows.

An engine that refuses such a field would be blamed by the wrong requirement. Where a field is the
matter itself, or asked for only where the server has it, it is listed here, with the reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

CONFORMANCE = Path(__file__).parents[2] / "conformance"
# What the request models of chat and text completions and of responses have in vLLM 0.32.0's
# OpenAPI document beside the fields of OpenAI's types 2.x.
_FIELDS = """
add_generation_prompt add_special_tokens allowed_token_ids bad_words cache_salt chat_template
chat_template_kwargs continue_final_message documents ec_transfer_params
enable_response_messages ignore_eos include_reasoning include_stop_str_in_output
kv_transfer_params length_penalty logprob_token_ids media_io_kwargs min_p min_tokens mm_payload
mm_processor_kwargs previous_input_messages priority prompt_embeds prompt_logprobs
repetition_detection repetition_penalty request_id return_mm_kwargs return_prompt_text
return_token_ids return_token_offsets return_tokens_as_token_ids routed_experts_prompt_start
session_id skip_special_tokens spaces_between_special_tokens stop_token_ids stream_interval
structured_outputs thinking_token_budget top_k truncate_prompt_tokens truncation_side
use_beam_search vllm_xargs watermarking
"""
VLLM_ONLY = frozenset(_FIELDS.split())
PROBED = "the test asks for the capability first"
REFUSED_TOO = "the requirement is kept by a refusal as well"
NO_REQUEST = "no field of a request over HTTP"
KNOWN = {
    "fuzzing._BOUNDED": ({"min_tokens"}, "bounds what is drawn from the engine's own document"),
    "fuzzing._LEFT_OUT": ({"ec_transfer_params", "kv_transfer_params"}, "never sent"),
    "offline_answers.SAMPLING": ({"repetition_penalty", "top_k"}, NO_REQUEST),
    "soak_requests.SoakRequests": (
        {"ignore_eos"},
        "the streams of a soak; an engine that refuses it cannot be soaked yet",
    ),
    "test_consistency_caches.test_same_picture_other_processing": (
        {"mm_processor_kwargs"},
        PROBED,
    ),
    "test_multi_image_settings.test_pixels_of_one_request": ({"mm_processor_kwargs"}, PROBED),
    "test_multi_image_settings.test_settings_stay_with_their_request": (
        {"mm_processor_kwargs"},
        REFUSED_TOO,
    ),
    "test_openai_sampling.test_temperature_zero": (
        {"ignore_eos"},
        "sent only where the server has it; the requirement is decided without it, too",
    ),
    "test_openai_sampling.test_top_k_and_min_p": ({"top_k", "min_p"}, PROBED),
    "test_openai_sampling.test_extended_ends": (
        {"ignore_eos", "min_tokens", "include_stop_str_in_output"},
        PROBED,
    ),
    "test_security._more_refusals": ({"chat_template"}, REFUSED_TOO),
    "test_security_inputs.test_request_templates": (
        {"chat_template", "chat_template_kwargs"},
        REFUSED_TOO,
    ),
    "test_security_inputs.test_template_arguments": (
        {"chat_template_kwargs", "add_generation_prompt"},
        REFUSED_TOO,
    ),
    "test_security_inputs.test_patterns": ({"structured_outputs"}, REFUSED_TOO),
    "test_security_inputs.test_settings_stay_with_their_request": (
        {"allowed_token_ids", "bad_words", "min_tokens", "repetition_penalty", "stop_token_ids"},
        REFUSED_TOO,
    ),
    "test_structured.test_choice_and_regex": ({"structured_outputs"}, PROBED),
    "test_tokenize.test_detokenize_gives_back": (
        {"add_special_tokens"},
        "of /tokenize, which OpenAI's interface lacks as a whole; asked for first",
    ),
}


def scopes(module: Path) -> Iterator[tuple[str, set[str]]]:
    """The fields that each function, class and constant of a module writes."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name = target.id if isinstance(target, ast.Name) else ""
        else:
            continue
        yield f"{module.stem}.{name}", written(node)


def written(node: ast.AST) -> set[str]:
    """Keyword arguments, and texts that stand alone: keys, members and subscripts among them."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.keyword) and part.arg:
            found.add(part.arg)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            found.add(part.value)
    return found & VLLM_ONLY


def test_what_is_written_is_seen(tmp_path):
    module = tmp_path / "test_it.py"
    module.write_text(
        "FIELDS = {'ignore_eos': True}\n"
        "def test_a(server):\n    ask(server, top_k=1)['min_p'] = 2\n"
        "def test_b(server):\n    '''ignore_eos in a sentence'''\n    ask(server, top_p=1)\n"
    )
    assert dict(scopes(module)) == {
        "test_it.FIELDS": {"ignore_eos"},
        "test_it.test_a": {"top_k", "min_p"},
        "test_it.test_b": set(),
    }


def test_only_known_places_write_such_fields():
    seen = {
        name: fields
        for module in sorted(CONFORMANCE.glob("*.py"))
        for name, fields in scopes(module)
        if fields
    }
    assert seen == {name: fields for name, (fields, _) in KNOWN.items()}
