from __future__ import annotations

import pytest

from pytest_qwenvl.devices.npu_smi import UnreadableOutput, parse_info, parse_map
from pytest_qwenvl.devices.npu_topology import parse_npus, parse_topology
from tests.devices.test_recordings import outputs


def test_widths_and_banner_do_not_matter():
    info, mapping, topology = outputs("a3-16x910c")
    narrow = "".join(" ".join(line.split()) + "\n" for line in info.splitlines())
    shifted = "Authorized users only.\n\n" + narrow.replace("25.3.rc1", "99.1.2.beta")
    assert parse_npus(shifted, mapping, topology) == parse_npus(info, mapping, topology)


def test_windows_line_ends_do_not_matter():
    texts = outputs("a2-8x910b3")
    returned = [text.replace("\n", "\r\n") for text in texts]
    assert parse_npus(*returned) == parse_npus(*texts)


def test_memory_that_the_host_does_not_know():
    info, mapping, topology = outputs("a2-8x910b3")
    info = info.replace("3379 / 65536", "NA   / NA   ").replace("| OK  ", "| Alarm", 1)
    first = parse_npus(info, mapping, topology)[0]
    assert (first.memory_used_mib, first.memory_total_mib, first.health) == (None, None, "Alarm")


def test_header_with_single_spaces():
    _, mapping, _ = outputs("a3-16x910c")
    narrow = "".join(" ".join(line.split()) + "\n" for line in mapping.splitlines())
    assert parse_map(narrow) == parse_map(mapping)


def test_a_host_without_topology_says_so():
    info, mapping, _ = outputs("310p-4")
    found = parse_npus(info, mapping, "This device does not support querying topo.\n")
    assert {(npu.cpu_affinity, *npu.interconnect) for npu in found} == {((),)}


def test_rows_of_the_matrix_named_after_cards_or_physical_ids():
    _, mapping, topology = outputs("a2-2x910b3-gaps")
    chips = parse_map(mapping)
    by_card = topology.replace("NPU0", "NPU8").replace("NPU1", "NPU9")
    assert parse_topology(by_card, chips) == parse_topology(topology, chips)
    mapping = "NPU ID Chip ID Chip Logic ID Chip Phy-ID Chip Name\n6 0 0 12 A\n6 1 1 13 A\n"
    matrix = "Phy-ID13 Phy-ID12\nPhy-ID13 X SIO\nPhy-ID12 SIO X\n"
    places = parse_topology(matrix, parse_map(mapping))
    assert {at: place.interconnect for at, place in places.items()} == {
        0: {1: "SIO"},
        1: {0: "SIO"},
    }


def test_no_npu_at_all_is_no_contradiction():
    info, mapping, _ = outputs("a2-8x910b3")
    header = "\n".join(info.splitlines()[:6]) + "\n"
    end = "\n".join(line for line in info.splitlines() if "Process id" in line) + "\n"
    assert parse_npus(header + end, mapping.splitlines()[0] + "\n", "") == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("| Health ", "| 健康 ", "no row has the columns NPU, Name and Health"),
        ("Process id", "进程号", "no table of processes"),
        ("Process memory(MB)", "Process memory(GB)", "header of processes that is not known"),
        ("Memory-Usage(MB)", "Memory-Usage(GB)", "second header that is not known"),
        ("| Chip                      |", "| Chip  Slot                |", "second header"),
        ("910B3 ", "910D1 ", "'910D1' is no known NPU"),
        ("3379 / 65536", "65537/ 65536", "more memory used than there is"),
        ("3379 / 65536 ", "3379 ", "rows that are none of a device"),
        ("3379 / 65536", "/ 65536", "rows that are none of a device"),
        ("3379 / 65536", f"{'9' * 5000} / 65536", "where a number belongs"),
        ("| 1     910B3", "| 0     910B3", "chip 0 of NPU 0 is listed twice"),
        ("processes found in NPU 7", "processes found in NPU 8", "contradicts itself on NPU 8"),
        ("processes found in NPU 7", "processes", "'No' where a number belongs"),
        (
            "| No running processes found in NPU 6 ",
            "| 6 0 | 77 | python | 12 |\n| No running processes found in NPU 6 ",
            "contradicts itself on NPU 6",
        ),
        (
            "| No running processes found in NPU 6 ",
            "| 6 0 | 77 | python | 12 |\n| 6 0 | 77 | python | 13 |\n| x",
            "holds one chip twice",
        ),
        (
            "| No running processes found in NPU 6 ",
            "| 6 1 | 77 | python | 12 |\n| No running processes found in NPU 6 ",
            "no process of a listed chip",
        ),
        ("| No running processes found in NPU 3 ", "+", "says nothing of NPU 3"),
        ("| 0     910B3", "dcmi get health failed.\n| 0     910B3", "between the rows it says"),
    ],
)
def test_info_that_does_not_fit(old, new, said):
    info, mapping, topology = outputs("a2-8x910b3")
    assert old in info
    with pytest.raises(UnreadableOutput) as caught:
        parse_npus(info.replace(old, new), mapping, topology)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ("NPU ID Chip ID Chip Logic ID Chip Name\n0 0 0 Ascend\n1 0 0 Ascend\n", "logic id 0"),
        ("NPU ID Chip ID Chip Logic ID Chip Name\n0 0 0 Ascend\n0 0 1 Ascend\n", "chip 0 of NPU 0"),
        ("NPU ID Chip ID Chip Logic ID Chip Name\n0 0 0\n", "a row without 4 columns"),
        ("NPU ID Chip ID Chip Logic ID Chip Name\n0 0 a Ascend\n", "'a' where a number belongs"),
        ("NPU ID Chip ID Chip Name\n8 0 0 Ascend\n", "no column Chip Logic ID"),
        ("NPU ID Chip ID Chip Name Chip Logic ID\n0 0 Ascend 0\n", "columns that are not known"),
        ("NPU ID Chip ID Board ID Chip Logic ID Chip Name\n0 0 1 0 A\n", "columns that are not"),
        ("Usage: npu-smi info\n", "no line begins with the column NPU ID"),
        ("", "no line begins with the column NPU ID"),
    ],
)
def test_a_map_that_does_not_fit(mapping, said):
    with pytest.raises(UnreadableOutput, match=said):
        parse_map(mapping)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("HCCS       144-167\nNPU2", "HCCS       167-144\nNPU2", "is no list of CPUs"),
        ("HCCS       144-167\nNPU2", "HCCS       0-9999999\nNPU2", "is no list of CPUs"),
        ("NPU1       HCCS", "NPU1       SYS ", "'HCCS' between NPU0 and NPU1 cannot be"),
        ("NPU1       HCCS       X", "NPU1       X          X", "cannot be"),
        ("NPU1       HCCS       X", "NPU1       HCCS       HCCS", "cannot be"),
        (
            "NPU1       HCCS       X  ",
            "NPU1                  X  ",
            "is no list|does not fit|cannot be",
        ),
        ("\nNPU1       HCCS", "\nNPU9       HCCS", "but rows"),
        ("\nNPU1       HCCS", "\nNPU0       HCCS", "does not fit 8 columns"),
        ("NPU7       CPU Affinity", "CPU Affinity", "are not the chips with logic ids"),
        ("CPU Affinity", "CPU", "columns that are not known"),
        ("HCCS       144-167\nNPU1", "HCCS\nNPU1", "does not fit 8 columns"),
        ("NPU0       NPU1       NPU2", "Card0 Card1 Card2", "no line names NPUs"),
    ],
)
def test_a_matrix_that_does_not_fit(old, new, said):
    _, mapping, topology = outputs("a2-8x910b3")
    assert old in topology
    chips = parse_map(mapping)
    with pytest.raises(UnreadableOutput, match=said):
        parse_topology(topology.replace(old, new), chips)


def test_outputs_that_speak_of_different_chips():
    info, mapping, topology = outputs("a3-16x910c")
    fewer = mapping.replace(mapping.splitlines()[-2] + "\n", "")
    with pytest.raises(UnreadableOutput, match=r"npu-smi info lists .*7/1, npu-smi info -m lists"):
        parse_npus(info, fewer, topology)
    other, _, _ = outputs("a2-8x910b3")
    with pytest.raises(UnreadableOutput, match="npu-smi info lists"):
        parse_npus(other, mapping, topology)


def test_the_same_row_twice_is_one_process():
    info, _, _ = outputs("a2-2x910b3-gaps")
    row = next(line for line in info.splitlines() if "2290156" in line)
    twice = info.replace(row, f"{row}\n{row}")
    assert parse_info(twice) == parse_info(info)
