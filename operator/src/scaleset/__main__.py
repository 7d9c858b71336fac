"""The command `scaleset-operator`."""

import argparse
import asyncio
import logging
import re
import sys
from math import inf

from scaleset import __version__
from scaleset.application import Application, CannotStartError, LeaseLostError, Options, address
from scaleset.kube import rate_limit
from scaleset.kube.errors import ApiError
from scaleset.observability import logging as logs
from scaleset.runtime.process import collect_less

log = logging.getLogger(__name__)

DEEPEST_OBJECT = 25_000
"""Recursion limit: with Python's 1000 one deeply nested object stops every LIST, and the API server accepts 10,000
levels.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="scaleset-operator",
        description="Keeps fleets of pods on the latest image, batch by batch, gated by health.",
    )
    command.add_argument(
        "--kubeconfig", help="kubeconfig file; default: the pod's own account, $KUBECONFIG, ~/.kube/config"
    )
    command.add_argument("--context", help="context of the kubeconfig; default: its current one")
    command.add_argument(
        "--namespace",
        dest="namespaces",
        action="append",
        default=[],
        type=_namespace,
        metavar="NAME",
        help="namespace to serve; repeatable; default: all",
    )
    command.add_argument(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write only while holding the lease, so that several replicas can run",
    )
    command.add_argument(
        "--leader-election-namespace",
        dest="lease_namespace",
        type=_namespace,
        metavar="NAME",
        help="namespace of the lease; default: the pod's own, else the first served",
    )
    command.add_argument(
        "--prepull-service-account",
        default="default",
        type=_service_account,
        metavar="NAME",
        help="service account, in the namespace of the lease, with the pull secrets for pods that pull images onto "
        "nodes; default: %(default)s",
    )
    command.add_argument(
        "--kube-api-qps",
        default=rate_limit.QPS,
        type=_qps,
        metavar="NUMBER",
        help="sustained writes a second to the API server, shared fairly by the ScaleSets; -1 for no limit; "
        "default: %(default)g",
    )
    command.add_argument(
        "--kube-api-burst",
        default=rate_limit.BURST,
        type=_burst,
        metavar="NUMBER",
        help="writes at once after a quiet time; default: %(default)d",
    )
    command.add_argument(
        "--metrics-bind-address", type=_address, default=":8080", metavar="HOST:PORT", help="default: %(default)s"
    )
    command.add_argument(
        "--health-bind-address", type=_address, default=":8081", metavar="HOST:PORT", help="default: %(default)s"
    )
    command.add_argument("--log-format", choices=["text", "json"], default="text", help="default: %(default)s")
    command.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], default="info", help="default: %(default)s"
    )
    command.add_argument("--version", action="version", version=__version__)
    return command


def _address(text: str) -> str:
    try:
        address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _namespace(text: str) -> str:
    if not re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a namespace")
    return text


def _service_account(text: str) -> str:
    if len(text) > 253 or not re.fullmatch("[a-z0-9]([-.a-z0-9]*[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a service account")
    return text


def _qps(text: str) -> float:
    try:
        qps = float(text)
    except ValueError:
        qps = 0.0
    if qps == -1:
        return inf
    if not 0 < qps < inf:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of writes a second; write one above 0, or -1 for no limit"
        )
    return qps


def _burst(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of writes; write 1 or more")
    return int(text)


def main() -> None:
    """Run the operator until it is stopped. The exit code is 1 if it cannot start or has lost the lease."""
    sys.setrecursionlimit(DEEPEST_OBJECT)
    given = vars(parser().parse_args())
    logs.configure(form=given.pop("log_format"), level=given.pop("log_level"))
    collect_less()
    limits = rate_limit.Limits(qps=given.pop("kube_api_qps"), burst=given.pop("kube_api_burst"))
    options = Options(namespaces=tuple(dict.fromkeys(given.pop("namespaces"))), limits=limits, **given)
    try:
        asyncio.run(Application(options).run())
    except KeyboardInterrupt:
        return
    except (CannotStartError, LeaseLostError, ApiError, OSError) as error:
        log.error('ended error="%(error)s"', {"error": error})
        sys.exit(1)
    except Exception:
        log.exception('ended error="%(error)s"', {"error": "a mistake of ours"})
        sys.exit(1)


if __name__ == "__main__":
    main()
