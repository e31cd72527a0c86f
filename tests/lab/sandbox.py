"""Puts a program into mount, process and network namespaces of its own before it builds a lab.

Everything a lab makes (namespaces, processes, files below /run) then ends with the program, however it ends. It takes root, or a
kernel that lets users make namespaces, or sudo."""
import os
import shutil
import subprocess
import sys

WORK = "/run/lab"  # in memory, and of this program alone
INSIDE = "ATLAS_LAB_INSIDE"
TOOLS = ("unshare", "ip", "nft")
KEPT = ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "ATLAS_REQUIRE_ALL", "TERM", "COLUMNS", "LANG", "LC_ALL")

# What has to work inside: a namespace, a pair of cables, and a NAT.
TRIAL = """
mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add t && ip -n t link add in0 type veth peer name out0 &&
ip netns exec t sysctl -qw net.ipv4.ip_forward=1 && ip netns exec t nft -f - <<END
table ip t {
    chain c {
        type nat hook postrouting priority 100;
        masquerade fully-random
    }
    chain d {
        type filter hook forward priority 0; policy drop;
        ct state established accept
    }
}
END
"""


def find_tools():
    """Administrators' programs are not in everybody's PATH."""
    have = os.environ.get("PATH", "/usr/bin:/bin").split(":")
    os.environ["PATH"] = ":".join(have + [d for d in ("/usr/sbin", "/sbin", "/usr/local/sbin") if d not in have])
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def kept_environment():
    return ["env", *(f"{name}={os.environ[name]}" for name in (*KEPT, "PATH") if name in os.environ), f"{INSIDE}=1"]


def ways(ask):
    """Prefixes of command lines, the gentlest first."""
    own = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() == 0:
        return [own]
    # as the same user, with every right over what is made here: as root there tcpdump would fail to become somebody else
    found = [[*own[:1], "--user", "--map-current-user", "--keep-caps", *own[1:]]]
    if shutil.which("sudo") is not None:
        found.append(["sudo", "--" if ask else "-n", *own])
    return found


def works(prefix):
    """Why this prefix makes no lab, or an empty string."""
    if prefix[0] == "sudo" and prefix[1] == "--":
        subprocess.run(["sudo", "-v"], check=False)  # asks now, once, where the person can see it
        prefix = ["sudo", "-n", *prefix[2:]]
    tried = subprocess.run([*prefix, "sh", "-c", TRIAL], capture_output=True, text=True, errors="replace", timeout=60, check=False)
    if tried.returncode == 0:
        return ""
    lines = tried.stderr.strip().splitlines()
    return lines[-1] if lines else f"{prefix[0]} ended with {tried.returncode}"


def enter(ask=False):
    """Starts this program again inside and does not return; or returns the reason why that is not possible. Inside it returns an
    empty string. With `ask`, sudo may ask for a password."""
    missing = find_tools()
    if os.environ.get(INSIDE) == "1":
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
        os.makedirs("/run/netns")
        os.makedirs(WORK)
        return ""
    if missing:
        return "not installed: " + ", ".join(missing)
    reason = ""
    for prefix in ways(ask):
        reason = works(prefix)
        if not reason:
            sys.stdout.flush()
            os.execvp(prefix[0], [*prefix, *kept_environment(), sys.executable, "-B", *sys.argv])
    return reason
