// The modules that no model of a user is in: those of Python itself (all that some version has or had), its installers, and
// the packages that PyTorch brings along.
// Facts: sys.stdlib_module_names; Lib/_compat_pickle.py, which has the names of Python 2 that pickle translates;
// Requires-Dist of the torch package.
#include "pickle/globals.h"
#include "pickle/words.h"

namespace transload {
namespace {

constexpr std::string_view kPythonModules =
    "BaseHTTPServer CGIHTTPServer ConfigParser Cookie Dialog DocXMLRPCServer FileDialog "
    "HTMLParser Queue ScrolledText SimpleDialog SimpleHTTPServer SimpleXMLRPCServer SocketServer "
    "StringIO Tix Tkconstants Tkdnd Tkinter UserDict UserList UserString __builtin__ __future__ "
    "__phello__ _abc _abcoll _aix_support _android_support _apple_support _ast _asyncio _bisect "
    "_blake2 _bootsubprocess _bz2 _codecs _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp "
    "_codecs_kr _codecs_tw _collections _collections_abc _colorize _compat_pickle _compression "
    "_contextvars _crypt _csv _ctypes _ctypes_test _curses _curses_panel _datetime _dbm _decimal "
    "_elementtree _frozen_importlib _frozen_importlib_external _functools _gdbm _hashlib _heapq "
    "_imp _interpchannels _interpqueues _interpreters _io _ios_support _json _locale _lsprof "
    "_lzma _markupbase _md5 _msi _multibytecodec _multiprocessing _opcode _opcode_metadata "
    "_operator _osx_support _overlapped _pickle _posixshmem _posixsubprocess _py_abc _pydecimal "
    "_pyio _pylong _pyrepl _queue _random _remote_debugging _scproxy _sha1 _sha2 _sha256 _sha3 "
    "_sha512 _signal _sitebuiltins _socket _sqlite3 _sre _ssl _stat _statistics _string _strptime "
    "_struct _suggestions _symtable _sysconfig _testbuffer _testcapi _testimportmultiple "
    "_testinternalcapi _testmultiphase _thread _threading_local _tkinter _tokenize _tracemalloc "
    "_typing _uuid _warnings _weakref _weakrefset _winapi _winreg _xxsubinterpreters _xxtestfuzz "
    "_zoneinfo _zstd abc aifc annotationlib antigravity anydbm argparse array ast asynchat "
    "asyncio asyncore atexit audioop base64 bdb binascii bisect builtins bz2 cPickle cProfile "
    "cStringIO calendar cgi cgitb chunk cmath cmd code codecs codeop collections colorsys "
    "commands compileall compression concurrent configparser contextlib contextvars cookielib "
    "copy copy_reg copyreg crypt csv ctypes curses dataclasses datetime dbhash dbm decimal "
    "difflib dis distutils doctest dumbdbm dummy_thread email encodings ensurepip enum errno "
    "exceptions faulthandler fcntl filecmp fileinput fnmatch fractions ftplib functools gc gdbm "
    "genericpath getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac html "
    "htmlentitydefs http httplib idlelib imaplib imghdr imp importlib inspect io ipaddress "
    "itertools json keyword lib2to3 linecache locale logging lzma mailbox mailcap markupbase "
    "marshal math mimetypes mmap modulefinder msilib msvcrt multiprocessing netrc nis nntplib nt "
    "ntpath nturl2path numbers opcode operator optparse os ossaudiodev pathlib pdb pickle "
    "pickletools pip pipes pkg_resources pkgutil platform plistlib poplib posix posixpath pprint "
    "profile pstats pty pwd py_compile pyclbr pydoc pydoc_data pyexpat queue quopri random re "
    "readline repr reprlib resource rlcompleter robotparser runpy sched secrets select selectors "
    "setuptools shelve shlex shutil signal site sitecustomize smtpd smtplib sndhdr socket "
    "socketserver spwd sqlite3 sre_compile sre_constants sre_parse ssl stat statistics string "
    "stringprep struct subprocess sunau symtable sys sysconfig syslog tabnanny tarfile telnetlib "
    "tempfile termios test textwrap this thread threading time timeit tkColorChooser "
    "tkCommonDialog tkFileDialog tkFont tkMessageBox tkSimpleDialog tkinter token tokenize "
    "tomllib trace traceback tracemalloc ttk tty turtle turtledemo types typing unicodedata "
    "unittest urllib urllib2 urlparse usercustomize uu uuid venv warnings wave weakref webbrowser "
    "whichdb winreg winsound wsgiref xdrlib xml xmlrpc xmlrpclib xxlimited xxsubtype zipapp "
    "zipfile zipimport zlib zoneinfo";

constexpr std::string_view kModulesBesideThem =
    "_distutils_hack _pytest filelock fsspec functorch jinja2 markupsafe mpmath networkx pluggy "
    "py pytest sympy torchgen triton";

}  // namespace

bool is_python_module(std::string_view module) {
  const std::string_view package = module.substr(0, module.find('.'));
  // A module's name has no blanks: who writes one wants to be taken for another.
  if (package.find(' ') != package.npos) return true;
  return has_word(kPythonModules, package) || has_word(kModulesBesideThem, package);
}

}  // namespace transload
