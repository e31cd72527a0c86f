"""The binding against the headers: layouts by the C compiler, constants, signatures, callbacks.

Environment: ATLAS_LIBRARY, ATLAS_INCLUDE (the directory of atlas/), ATLAS_CC (a command)."""
import ctypes
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

import atlas
from atlas import _c

INCLUDE = pathlib.Path(os.environ["ATLAS_INCLUDE"])
CC = shlex.split(os.environ.get("ATLAS_CC", "cc"))
HEADERS = re.sub(r"/\*.*?\*/", " ", "\n".join(
    path.read_text(encoding="utf-8") for path in sorted(INCLUDE.glob("atlas/*.h"))), flags=re.S)
DEFINES = {name for name in re.findall(r"^#define (ATLAS_\w+)[ \t]+\S", HEADERS, re.M)
           if name != "ATLAS_API"}

SCALARS = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "uint32_t": ctypes.c_uint32,
           "uint64_t": ctypes.c_uint64, "size_t": ctypes.c_size_t, "void": None}


def compiled(lines):
    """The output of a C program of these statements: a dictionary of numbers."""
    source = ("#include <atlas/atlas.h>\n#include <stdio.h>\nint main(void) {\n"
              + "\n".join(lines) + "\nreturn 0;\n}\n")
    with tempfile.TemporaryDirectory() as tmp:
        program = pathlib.Path(tmp) / "layout"
        program.with_suffix(".c").write_text(source, encoding="utf-8")
        subprocess.run([*CC, f"-I{INCLUDE}", str(program.with_suffix(".c")), "-o", str(program)],
                       check=True)
        out = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in (line.split() for line in out.splitlines())}


def show(name, expression):
    return f'printf("{name} %lld\\n", (long long)({expression}));'


def same_type(c_type, py_type):
    """Whether a type as the header writes it is passed as this one of ctypes."""
    words = re.sub(r"\b(const|struct)\b", " ", c_type)
    words = re.sub(r"\[\d*\]", "*", words)
    base, stars = re.match(r"\s*(\w+)", words).group(1), words.count("*")
    if not stars:
        return py_type is (SCALARS[base] if base in SCALARS else _c.CALLBACKS[base])
    if py_type is ctypes.c_void_p:
        return True
    if base == "char":
        return py_type is (ctypes.c_char_p if stars == 1 else ctypes.POINTER(ctypes.c_char_p))
    if base in _c.STRUCTS:
        return stars == 1 and py_type is ctypes.POINTER(_c.STRUCTS[base])
    if base in SCALARS and SCALARS[base] is not None:
        return stars == 1 and py_type is ctypes.POINTER(SCALARS[base])
    return py_type is ctypes.POINTER(ctypes.c_void_p) and stars == 2


def arguments(text):
    return [] if text.strip() == "void" else [arg.strip() for arg in text.split(",")]


class Abi(unittest.TestCase):
    def compare(self, name, result, args, py_result, py_args):
        args = arguments(args)
        self.assertEqual(len(args), len(py_args), f"{name}: number of arguments")
        for c_type, py_type in [(result, py_result), *zip(args, py_args)]:
            self.assertTrue(same_type(c_type, py_type), f"{name}: {c_type!r} is not {py_type}")

    def test_layout(self):
        declared = set(re.findall(r"^typedef struct (\w+) \{", HEADERS, re.M))
        self.assertEqual(declared, set(_c.STRUCTS))
        expected, lines = {}, []
        for name, struct in _c.STRUCTS.items():
            lines.append(show(name, f"sizeof({name})"))
            expected[name] = ctypes.sizeof(struct)
            for field, _ in struct._fields_:
                place = getattr(struct, field)
                lines.append(show(f"{name}.{field}", f"offsetof({name}, {field})"))
                lines.append(show(f"{name}.{field}#", f"sizeof((({name} *)0)->{field})"))
                expected[f"{name}.{field}"] = place.offset
                expected[f"{name}.{field}#"] = place.size
        self.assertGreater(len(expected), 400)
        self.assertEqual(compiled(lines), expected)

    def test_fields(self):
        """All of a structure's fields, in order: a field that fills padding moves no other."""
        for name, body in re.findall(r"^typedef struct (\w+) \{(.*?)^\}", HEADERS, re.M | re.S):
            found = [re.search(r"\(\*(\w+)\)|(\w+)(?:\[\w+\])?$", part.strip()).groups()
                     for part in body.split(";") if part.strip()]
            self.assertEqual([a or b for a, b in found],
                             [field for field, _ in _c.STRUCTS[name]._fields_], name)

    def test_constants(self):
        values = {f"ATLAS_{prefix}{member.name}": int(member) for prefix, members in (
            ("ERR_", atlas.Err), ("OPT_", atlas.Opt), ("FD_", atlas.Fd), ("LOG_", atlas.Log),
            ("PATH_", atlas.Path), ("CANDIDATE_", atlas.Candidate),
            ("RELAY_", atlas.Relay), ("RELAY_ASK_", atlas.RelayAsk),
            ("STUN_", atlas.Stun), ("NAT_", atlas.NatAnswer), ("NAT_", atlas.NatWhat),
            ("NAT_MAPPING_", atlas.NatMapping), ("NAT_FILTERING_", atlas.NatFiltering),
            ("NAT_KIND_", atlas.NatKind), ("NAT_METHOD_", atlas.NatMethod),
            ("OFFER_", atlas.Offer), ("RECORD_", atlas.Source), ("QUERY_", _c.QueryWhat),
            ("REACH_", atlas.Reach), ("ADVERTISE_", atlas.Advertise),
            ("AUTORELAY_", atlas.AutoRelay)) for member in members}
        values["ATLAS_OK"] = values.pop("ATLAS_ERR_OK")
        for name in ("PEER_ID_MAX", "ADDR_MAX", "MULTIADDR_MAX"):
            values["ATLAS_" + name] = getattr(_c, name)
        self.assertEqual(DEFINES - {"ATLAS_NO_DEADLINE"}, set(values))
        self.assertEqual(compiled([show(name, name) for name in values]), values)
        self.assertEqual(compiled([show("none", "ATLAS_NO_DEADLINE == UINT64_MAX")]), {"none": 1})
        for code in atlas.Err:
            self.assertIn(code.name, atlas.AtlasError(code).name)

    def test_functions(self):
        found = re.findall(r"^ATLAS_API ([\w ]+?[ *]+)atlas_(\w+)\(([^)]*)\);", HEADERS, re.M)
        self.assertEqual({name for _, name, _ in found}, set(_c.FUNCTIONS))
        self.assertEqual(len(found), len(re.findall(r"^ATLAS_API\b", HEADERS, re.M)))
        for result, name, args in found:
            py_result, *py_args = _c.FUNCTIONS[name]
            self.compare(name, result, args, py_result, py_args)

    def test_callbacks(self):
        pattern = r"([\w ]+?[ *]+)\(\*(\w+)\)\(([^)]*)\);"
        count = 0
        for name, body in re.findall(r"^typedef struct (\w+) \{(.*?)^\}", HEADERS, re.M | re.S):
            fields = dict(_c.STRUCTS[name]._fields_)
            for result, field, args in re.findall(pattern, body):
                count += 1
                self.compare(f"{name}.{field}", result, args, fields[field]._restype_,
                             fields[field]._argtypes_)
        for result, name, args in re.findall(r"^typedef " + pattern, HEADERS, re.M):
            count += 1
            self.compare(name, result, args, _c.CALLBACKS[name]._restype_,
                         _c.CALLBACKS[name]._argtypes_)
        self.assertEqual(count, HEADERS.count("(*"))


if __name__ == "__main__":
    unittest.main()
