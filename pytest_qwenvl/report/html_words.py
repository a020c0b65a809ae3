"""The page's own words, in English and in Chinese (simplified).

The suite's sentences (requirements, reasons, verdicts) are made of what a run met and stay English;
the page marks them so. Ids, outcomes as they stand in ``report.json``, options and metric names are
the same in both languages.
"""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """One text of the page; ``{0}`` stands for a number or a name."""

    en: str
    zh: str


WORDS: dict[str, Words] = {
    "title": Words("Qwen-VL conformance report", "Qwen-VL 一致性测试报告"),
    "skip": Words("Skip to what went wrong", "跳到未通过的要求"),
    "language": Words("Language", "语言"),
    "contents": Words("Contents", "目录"),
    "CONFORMANT": Words("CONFORMANT", "符合 CONFORMANT"),
    "PARTIAL": Words("PARTIAL", "部分判定 PARTIAL"),
    "NON-CONFORMANT": Words("NON-CONFORMANT", "不符合 NON-CONFORMANT"),
    "CONFORMANT.means": Words(
        "Every core requirement that was claimed passed.", "所声明的每一项核心要求均已通过。"
    ),
    "PARTIAL.means": Words(
        "Nothing core failed, but not every core requirement was shown to pass.",
        "没有核心要求失败，但并非每一项核心要求都已证明通过。",
    ),
    "NON-CONFORMANT.means": Words(
        "At least one core requirement failed.", "至少有一项核心要求未通过。"
    ),
    "PASS": Words("PASS", "通过"),
    "FAIL": Words("FAIL", "未通过"),
    "ERROR": Words("ERROR", "测试出错"),
    "INVALID": Words("INVALID", "测量无效"),
    "INCONCLUSIVE": Words("INCONCLUSIVE", "证据不足"),
    "WAIVED": Words("WAIVED", "已豁免"),
    "SKIPPED": Words("SKIPPED", "已跳过"),
    "UNSUPPORTED": Words("UNSUPPORTED", "服务不支持"),
    "NOT_JUDGED": Words("NOT JUDGED", "未判定"),
    "FAIL.means": Words("the product broke the requirement", "被测产品违反了该要求"),
    "ERROR.means": Words("the suite or the host broke", "测试套件或主机出错"),
    "INVALID.means": Words(
        "the measurement does not mean what it should", "测量结果不能代表应测的内容"
    ),
    "INCONCLUSIVE.means": Words("too little evidence to say", "证据太少，无法判定"),
    "WAIVED.means": Words("a failure that somebody answers for", "有人负责的已知失败"),
    "SKIPPED.means": Words("for a stated reason", "附有原因"),
    "UNSUPPORTED.means": Words("the server lacks it", "服务没有该功能"),
    "NOT_JUDGED.means": Words("claimed, and never reached", "已声明但未执行到"),
    "PASS.means": Words("seen to hold", "已验证成立"),
    "core": Words("core", "核心"),
    "extended": Words("extended", "扩展"),
    "scope": Words("Scope", "范围"),
    "scope.whole": Words("the whole suite", "整个测试套件"),
    "scope.narrowed": Words(
        "This verdict counts only within this selection.", "该结论仅在此选择范围内有效。"
    ),
    "backend": Words("Backend", "后端"),
    "backend.npu": Words("{0} NPUs", "{0} 个 NPU"),
    "backend.cpu": Words(
        "CPU, {0} virtual devices: no NPU was involved", "CPU，{0} 个虚拟设备：未使用任何 NPU"
    ),
    "backend.attached": Words(
        "an attached server: what runs it was not seen", "外部服务：其运行环境不可见"
    ),
    "endpoint": Words("Endpoint", "服务地址"),
    "started": Words("Started", "开始时间"),
    "took": Words("Took", "耗时"),
    "suite": Words("Suite", "套件版本"),
    "catalogue": Words("requirements version {0}", "要求目录版本 {0}"),
    "run": Words("Run", "运行编号"),
    "command": Words("Command", "命令"),
    "unfinished": Words(
        "This run did not finish; the page shows what it left.",
        "该运行未完成；本页显示其留下的内容。",
    ),
    "models": Words("Models", "模型"),
    "host": Words("host", "主机"),
    "matrix": Words("Deployments by groups of requirements", "部署 × 要求分组"),
    "matrix.help": Words(
        "Passed of claimed. A cell leads to its requirements and their evidence.",
        "通过数/声明数。点击单元格查看其要求与证据。",
    ),
    "deployment": Words("Deployment", "部署"),
    "all": Words("all", "合计"),
    "problems": Words("What did not pass", "未通过的要求"),
    "problems.none": Words("Everything that was claimed passed.", "所声明的全部要求均已通过。"),
    "problems.more": Words("Skipped and unsupported: {0}", "跳过与不支持：{0} 项"),
    "on": Words("on", "位于"),
    "places": Words("{0} deployments", "{0} 个部署"),
    "evidence": Words("Evidence", "证据"),
    "reason": Words("Expected and seen", "期望与实际"),
    "rationale": Words("Why", "理由"),
    "source": Words("Source", "来源"),
    "measured": Words("Measured", "测得"),
    "waiver": Words("Waiver", "豁免"),
    "exchanges": Words("Requests and answers", "请求与应答"),
    "exchanges.more": Words("{0} more requests of this test", "该测试的其他 {0} 个请求"),
    "answer": Words("Answer", "应答"),
    "pictures": Words("Pictures", "图片"),
    "files": Words("Files in the report's folder", "报告目录中的文件"),
    "log": Words("The engine's log of that moment", "当时的引擎日志"),
    "reproduce": Words("Reproduce", "复现命令"),
    "test": Words("Test", "测试"),
    "not_shown": Words("not shown", "未显示"),
    "shortened": Words(
        "Shortened to keep the page small; report.json has all of it.",
        "为控制页面大小已缩短；完整内容见 report.json。",
    ),
    "whole": Words("{0} more are in report.json", "其余 {0} 项见 report.json"),
    "soak": Words("Soak", "长稳测试"),
    "soak.minutes": Words(
        "{0} min; watching took {1} % of one core", "{0} 分钟；监测占用单核的 {1} %"
    ),
    "soak.marks": Words(
        "Line: means of samples; bars: their lowest and highest; dashed: judged from here on.",
        "折线：样本均值；竖条：最低与最高值；虚线：由此开始判定。",
    ),
    "latency": Words("Latency", "时延"),
    "latency.distribution": Words("Share of requests within a time", "在给定时间内完成的请求占比"),
    "latency.time": Words("Over the run", "随时间变化"),
    "latency.marks": Words(
        "Line: median; bar: least to most; cross: over budget; triangle: failed.",
        "线：中位数；竖条：最小至最大；叉：超出预算；三角：失败。",
    ),
    "latency.percentiles": Words(
        "The report holds percentiles only; the points are joined.",
        "报告仅含分位数；各点以线相连。",
    ),
    "budget": Words("budget", "预算"),
    "budget.reported": Words("budget (not vouched for)", "预算（无人担保）"),
    "requests": Words("{0} requests", "{0} 个请求"),
    "seen": Words("seen", "实测"),
    "interval": Words("95 % interval", "95 % 置信区间"),
    "workload": Words("Workload", "负载"),
    "metric": Words("Metric", "指标"),
    "share": Words("share of requests", "请求占比"),
    "seconds": Words("seconds since the load began", "负载开始后的秒数"),
    "over": Words("{0} over budget", "{0} 个超出预算"),
    "numbers": Words("Numbers", "数值"),
    "accuracy": Words("Accuracy", "准确率"),
    "accuracy.marks": Words(
        "Dot with its 95 % interval: this run. Hollow: baseline. Bar: floor, dashed where not "
        "calibrated.",
        "圆点及其 95 % 置信区间：本次运行。空心：基线。竖线：下限，虚线表示未校准。",
    ),
    "task": Words("Task", "任务"),
    "score": Words("Score", "得分"),
    "floor": Words("floor", "下限"),
    "floor.uncalibrated": Words("floor (not calibrated)", "下限（未校准）"),
    "baseline": Words("baseline", "基线"),
    "baseline.dashed": Words("baseline: dashed", "基线：虚线"),
    "items": Words("{0} items", "{0} 题"),
    "flips": Words("Items that changed between two runs", "两次运行之间变化的题目"),
    "flips.lost": Words("lost", "由对变错"),
    "flips.gained": Words("gained", "由错变对"),
    "flips.counts": Words(
        "{0} lost, {1} gained, of {2} items in both runs",
        "{2} 道共有题目中，{0} 道由对变错，{1} 道由错变对",
    ),
    "flips.item": Words("Item", "题目"),
    "flips.expected": Words("Expected", "应为"),
    "flips.before": Words("Baseline's answer", "基线的回答"),
    "flips.now": Words("This run's answer", "本次的回答"),
    "flips.against": Words("Compared with run {0}", "与运行 {0} 比较"),
    "timeline": Words("Engines on devices", "设备上的引擎"),
    "timeline.marks": Words(
        "Dashed: starting; solid: serving, until the last requirement it decided; cross: failed.",
        "虚线框：启动中；实心：服务中，至其判定的最后一项要求；叉：失败。",
    ),
    "device": Words("device {0}", "设备 {0}"),
    "no_device": Words("no device", "无设备"),
    "minutes": Words("minutes since the run began", "运行开始后的分钟数"),
    "results": Words("All requirements, by deployment", "全部要求（按部署）"),
    "filter": Words("Filter by id or text", "按编号或文字筛选"),
    "filter.none": Words("Nothing matches.", "没有匹配项。"),
    "open_all": Words("Open all", "全部展开"),
    "close_all": Words("Close all", "全部收起"),
    "engines": Words("How engines were started", "引擎的启动方式"),
    "environment": Words("Host and versions", "主机与版本"),
    "versions": Words("Versions", "版本"),
    "not_run": Words("Not run", "未运行"),
    "undecided": Words("Undecided on an attached server", "外部服务上无法判定"),
    "waivers": Words("Waivers", "豁免"),
    "waivers.used": Words("used {0} times", "使用 {0} 次"),
    "until": Words("until {0}", "有效期至 {0}"),
    "carried_over": Words("carried over from run {0}", "沿用自运行 {0}"),
    "continued": Words("Continues", "接续运行"),
    "continued.kept": Words(
        "{0} of {1} results are carried over", "共 {1} 项结果，其中 {0} 项沿用自之前的运行"
    ),
    "notes": Words("Notes on the host", "主机说明"),
    "ready": Words("ready after {0} s", "{0} 秒后就绪"),
    "made": Words(
        "Made from report.json by pytest-qwenvl {0}. This file needs no network and refers to "
        "nothing outside itself.",
        "由 pytest-qwenvl {0} 根据 report.json 生成。本文件无需网络，也不引用任何外部内容。",
    ),
}
"""By key; a key of the form ``WORD.means`` explains an outcome or a verdict."""

SEPARATOR = "␟"
"""Between the arguments of a text where the page's language switch finds them."""
