"""The command line as Markdown, made from the commands themselves."""

from __future__ import annotations

from typing import Any

from uws_service.cli.common import EXIT_CODES


def reference(command: Any, program: str) -> str:
    """Return all commands with their arguments and options.

    Headings begin at the second level.
    """
    context = command.make_context(program, [], resilient_parsing=True)
    parts = [
        str(command.help or "").strip(),
        "Options before the command hold for all commands.",
        _parameters(command, context),
        "## Exit codes",
        "\n".join(["| code | meaning |", "|---|---|", *(f"| {code} | {text} |" for code, text in EXIT_CODES.items())]),
        "## Commands",
        "\n".join(
            ["| command | does |", "|---|---|"]
            + [
                f"| [`{name}`](#{program}-{name.replace(' ', '-')}) | {_short(subcommand)} |"
                for name, subcommand in commands_of(command)
            ]
        ),
    ]
    for name, subcommand in commands_of(command):
        parts += _command(name, subcommand, context, program)
    return "\n\n".join(part for part in parts if part) + "\n"


def commands_of(command: Any) -> list[tuple[str, Any]]:
    """Return the commands.

    Those of a group with its name before theirs, and the group if it does something by itself.
    """
    commands: list[tuple[str, Any]] = []
    for name, subcommand in command.commands.items():
        below = commands_of(subcommand) if hasattr(subcommand, "commands") else []
        if not below or subcommand.invoke_without_command:
            below = [("", subcommand), *below]
        commands += [(f"{name} {word}".strip(), subcommand_below) for word, subcommand_below in below]
    return commands


def _short(command: Any) -> str:
    return _cell(str(command.help or "").strip().split("\n\n")[0])


def _command(name: str, command: Any, parent: Any, program: str) -> list[str]:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    usage = " ".join([program, name, *command.collect_usage_pieces(context)])
    paragraphs = [" ".join(part.split()) for part in str(command.help or "").strip().split("\n\n")]
    return [f"### {program} {name}", f"```text\n{usage}\n```", *paragraphs, _parameters(command, context)]


def _parameters(command: Any, context: Any) -> str:
    rows = []
    for parameter in command.get_params(context):
        if getattr(parameter, "hidden", False):
            continue
        rows.append(f"| {_name(parameter, context)} | {_meaning(parameter, context)} |")
    return "\n".join(["| argument or option | meaning |", "|---|---|", *rows]) if rows else ""


def _name(parameter: Any, context: Any) -> str:
    value = parameter.metavar or parameter.display_type(context)
    if parameter.param_type_name == "argument":
        return f"`{value}`"
    opts = parameter.opts  # those of --help come out of a set, in any order
    opts = sorted(opts, key=len, reverse=True) if "--help" in opts else opts
    names = ", ".join(f"`{option}`" for option in [*opts, *parameter.secondary_opts])
    return names if getattr(parameter, "is_flag", False) else f"{names} `{value.strip('<>')}`"


def _meaning(parameter: Any, context: Any) -> str:
    words = str(getattr(parameter, "help", None) or "").strip()
    facts = []
    default = parameter.get_default(context, call=False)
    shows_default = getattr(parameter, "show_default", True)
    if default not in (None, False, [], ()) and shows_default and parameter.param_type_name != "argument":
        text = str(default).lower() if isinstance(default, bool) else str(default)
        facts.append(f"Default: `{text if default is not True else parameter.opts[0]}`.")
    if parameter.envvar:
        variables = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar
        facts.append(f"Environment: {', '.join(f'`{variable}`' for variable in variables)}.")
    return _cell(" ".join([words, *facts]).strip())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
