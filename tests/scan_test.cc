// scan(): pickles are found wherever a loader or an attacker can put them, and ordinary files are plain.
#include "transload/scan.h"

#include <unistd.h>
#include <zlib.h>

#include <algorithm>

#include "archive/zip_write.h"
#include "golden.h"
#include "io/crc32.h"
#include "pickles.h"

namespace transload {
namespace {

using namespace pickles;

class ScanFiles : public golden::TemporaryFolder {};

const std::string kHostile = pickle(called(global("os", "system"), text("true")));
const std::string kHarmless = pickle(op(Opcode::EMPTY_DICT));

struct Entry {
  std::string name, bytes;
};

// A zip archive of these members, with `gap` between the last one and the directory.
std::string archive(const std::vector<Entry>& entries, const std::string& gap = "") {
  ZipLayout zip(64);
  std::vector<std::uint32_t> crcs;
  std::string text;
  for (const Entry& entry : entries) {
    const std::size_t number = zip.add(entry.name, entry.bytes.size());
    crcs.push_back(crc32_of(std::as_bytes(std::span(entry.bytes))));
    text += zip.header(number) + entry.bytes + zip.descriptor(number, crcs.back());
  }
  std::string directory = zip.directory(crcs);
  const auto shift = [&]<class Number>(std::size_t from_end, Number) {
    Number value;
    char* const at = directory.data() + directory.size() - from_end;
    std::memcpy(&value, at, sizeof value);
    value += static_cast<Number>(gap.size());
    std::memcpy(at, &value, sizeof value);
  };
  shift(22 - 16, std::uint32_t{});            // the end record's directory offset
  shift(22 + 20 - 8, std::uint64_t{});        // the locator's
  shift(22 + 20 + 56 - 48, std::uint64_t{});  // the zip64 end record's
  return text + gap + directory;
}

std::vector<Entry> model(const std::string& values) {
  return {{"m/data.pkl", values}, {"m/byteorder", "little"}, {"m/version", "3\n"}};
}

std::string local_header(const std::string& name, const std::string& bytes) {
  ZipLayout zip(64);
  return zip.header(zip.add(name, bytes.size())) + bytes;
}

bool names_os_system(const Scan& scan) {
  return std::ranges::any_of(scan.uses, [](const PickleUse& use) {
    return use.name == "os.system" && use.verdict == Verdict::runs_code;
  });
}

Scan scan_text(const std::string& text) { return scan(file_in_memory("m.pt", text)); }

TEST_F(ScanFiles, AnOrdinaryModelIsPlain) {
  const Scan found = scan_text(archive(model(kHarmless)));
  EXPECT_EQ(found.summary(), "plain");
  EXPECT_EQ(found.format, "torch_zip");
  EXPECT_TRUE(found.findings.empty());
}

TEST_F(ScanFiles, APickleThatCallsIsNamed) {
  const Scan found = scan_text(archive(model(kHostile)));
  EXPECT_TRUE(names_os_system(found));
  EXPECT_TRUE(found.is_dangerous());
}

TEST_F(ScanFiles, AHiddenMemberIsFoundBehindZerosOfAnyLength) {
  for (const std::size_t zeros : {0u, 100u, 1u << 20, (3u << 20) + 17}) {
    const std::string gap = std::string(zeros, '\0') + local_header("m/hidden.pkl", kHostile);
    const Scan found = scan_text(archive(model(kHarmless), gap));
    EXPECT_TRUE(names_os_system(found)) << zeros;
    EXPECT_TRUE(std::ranges::any_of(found.findings, [](const Finding& finding) {
      return finding.suspicious && finding.what.find("does not mention") != std::string::npos;
    })) << zeros;
  }
}

TEST_F(ScanFiles, AHoleInAFileCostsNoTime) {
  const std::string whole = archive(model(kHarmless), local_header("m/hidden.pkl", kHostile));
  const std::string file = path("sparse.pt");
  // The end of an archive whose beginning lies a terabyte before it: the gap is a hole.
  golden::write_file(file, whole);
  ASSERT_EQ(truncate(file.c_str(), off_t{1} << 40), 0);
  const Scan found = scan(file);  // would take hours if the hole were read
  EXPECT_TRUE(found.broken);
  EXPECT_TRUE(names_os_system(found));
}

TEST_F(ScanFiles, WithoutADirectoryMembersAreFoundByTheirLocalHeaders) {
  const std::string whole = archive(model(kHostile));
  const Scan found = scan_text(whole.substr(0, whole.find("PK\1\2")));
  EXPECT_TRUE(found.broken);
  EXPECT_TRUE(names_os_system(found));
}

TEST_F(ScanFiles, AMemberOutsideOfTheFolderIsSuspicious) {
  std::vector<Entry> entries = model(kHarmless);
  entries.push_back({"n/data.pkl", kHostile});
  const Scan found = scan_text(archive(entries));
  EXPECT_TRUE(names_os_system(found));
  EXPECT_NE(found.summary().find("suspicious"), std::string::npos);
}

TEST_F(ScanFiles, AStorageThatNoTensorUsesIsLookedInto) {
  std::vector<Entry> entries = model(kHarmless);
  entries.push_back({"m/data/0", kHostile});
  EXPECT_TRUE(names_os_system(scan_text(archive(entries))));
}

TEST_F(ScanFiles, EachShardOfAnIndexIsScannedEvenIfTheIndexIsRefused) {
  golden::write_file(path("evil.bin"), archive(model(kHostile)));
  golden::write_file(path("m.bin.index.json"),
                     R"({"weight_map": {"a": "evil.bin", "b": "missing.bin"}})");
  const Scan found = scan(path("m.bin.index.json"));
  EXPECT_TRUE(names_os_system(found));
  EXPECT_TRUE(found.broken);
  EXPECT_EQ(found.uses.front().member, "evil.bin/m/data.pkl");
}

TEST_F(ScanFiles, ArchivesOneAfterTheOtherAreScannedEach) {
  const std::string good = archive(model(kHarmless));
  const Scan found = scan_text(good + archive(model(kHostile)) + good);
  EXPECT_EQ(found.format, "archives");
  EXPECT_TRUE(names_os_system(found));
}

std::string gzipped(const std::string& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(bytes.size() + 100, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

TEST_F(ScanFiles, CompressedFilesAreLookedInto) {
  EXPECT_TRUE(names_os_system(scan_text(gzipped(kHostile))));
  // A pickle that goes on in the next stream
  EXPECT_TRUE(
      names_os_system(scan_text(gzipped(kHostile.substr(0, 4)) + gzipped(kHostile.substr(4)))));
  EXPECT_EQ(scan_text(gzipped(kHarmless)).summary(), "plain");
  EXPECT_TRUE(scan_text(gzipped(kHarmless).substr(0, 12)).broken);
  EXPECT_TRUE(scan_text("\x04\x22\x4D\x18 lz4").broken);
}

TEST_F(ScanFiles, AnArchiveBehindAnotherFormatIsFound) {
  const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  const std::string safetensors =
      std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + "x";
  EXPECT_EQ(scan_text(safetensors).summary(), "plain");
  EXPECT_TRUE(names_os_system(scan_text(safetensors + archive(model(kHostile)))));
}

TEST_F(ScanFiles, AnArrayOfObjectsIsKnownHoweverItsDtypeIsWritten) {
  for (const char* descr : {"'|O'", "'O'", "'<O8'", "[('a', '|O')]", "'f8,O'"}) {
    const std::string header = std::string("{'descr': ") + descr + ", 'shape': (1,)}\n";
    const std::string array = std::string("\x93NUMPY\1\0", 8) + static_cast<char>(header.size()) +
                              '\0' + header + "\x80\4\x95";
    EXPECT_TRUE(scan_text(array).broken) << descr;
  }
}

TEST_F(ScanFiles, AnArchiveInAnArchiveIsLookedInto) {
  std::vector<Entry> entries = model(kHarmless);
  entries.push_back({"m/extra", archive(model(kHostile))});
  EXPECT_TRUE(names_os_system(scan_text(archive(entries))));
}

}  // namespace
}  // namespace transload
