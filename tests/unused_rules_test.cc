// unused_rules(): rules that fit nothing are named with what was probably meant, and no others.
#include "plan/unused_rules.h"
#include <gtest/gtest.h>

#include "plan/select.h"
#include "state_dicts.h"
#include "transload/transload.h"

namespace transload {
namespace {

using Lines = std::vector<std::string>;

// {"encoder.0.weight": …, "head.weight": …, "states": [{"exp": …, "step": 5}], "none": {}}
StateDict model() {
  return dict_of({{"encoder.0.weight", tensor_of(1)},
                  {"head.weight", tensor_of(2)},
                  {"states", list_of({dict_of({{"exp", tensor_of(3)}, {"step", 5}})})},
                  {"none", dict_of({})}});
}

Lines unused(const Selection& select, const MapLocation& map_location = {}) {
  Lines lines;
  for (const UnusedRule& rule : unused_rules(model(), {"cpu", "CPU"}, select, map_location))
    lines.push_back(str(rule));
  return lines;
}

TEST(UnusedRules, AreNoneWithoutRulesAndWhereAllFit) {
  EXPECT_EQ(unused({}), Lines());
  EXPECT_EQ(unused({.keep = {"*"}, .drop = {"head.*", "states/0/exp"}, .rename = {{"head.*", "*"}}},
                   {"encoder.?.weight:meta", "cpu"}),
            Lines());
}

TEST(UnusedRules, OfASelectionNameTheNearestPattern) {
  EXPECT_EQ(unused({.drop = {"heads*"}}),
            Lines{"drop \"heads*\" fits no tensor; did you mean \"head.*\"?"});
  EXPECT_EQ(unused({.drop = {"states/1/*"}}),
            Lines{"drop \"states/1/*\" fits no tensor; did you mean \"states/0/*\"?"});
  EXPECT_EQ(unused({.rename = {{"encoder", "backbone"}}}),
            Lines{"rename \"encoder\" fits no tensor; did you mean \"encoder.*\"?"});
  EXPECT_EQ(unused({.drop = {"optimizer*"}}),
            Lines{"drop \"optimizer*\" fits no tensor; one is called \"encoder.0.weight\""});
}

TEST(UnusedRules, AreThoseInVainAndNotTheOnesBesideThem) {
  EXPECT_EQ(unused({.keep = {"head.*", "heads.*"}}),
            Lines{"keep \"heads.*\" fits no tensor; did you mean \"head.*\"?"});
  EXPECT_EQ(unused({.rename = {{"head.*", "top.*"}, {"heads.*", "top.*"}}}).size(), 1u);
}

TEST(UnusedRules, AreNotReportedWhereNoTensorIsKept) {
  EXPECT_EQ(unused({.keep = {"heads.*"}}), Lines());
  EXPECT_THROW(select(model(), {.keep = {"heads.*"}}), MismatchError);
}

TEST(UnusedRules, OfAPartAreForNamesThatBeginThere) {
  EXPECT_EQ(unused({.at = "states/0", .drop = {"exp"}}), Lines());
  EXPECT_EQ(unused({.at = "states/0", .drop = {"states/0/exp"}}).size(), 1u);
  EXPECT_THROW(unused({.at = "states/1", .drop = {"exp"}}), MismatchError);
}

TEST(UnusedRules, ThatFitAContainerOnlyAreInVain) {
  EXPECT_EQ(unused({.drop = {"states"}}),
            Lines{"drop \"states\" fits no tensor; did you mean \"states/*\"?"});
}

TEST(UnusedRules, OverKeysMayFitTheOldNameTheNewOneOrATensorThatIsLeftOut) {
  const Selection select{.drop = {"head.*"}, .rename = {{"encoder.*", "backbone.*"}}};
  EXPECT_EQ(unused(select, {"encoder.*:meta", "backbone.*:meta", "head.*:meta"}), Lines());
  EXPECT_EQ(unused(select, {"encodr.*:meta"}),
            Lines{"map_location \"encodr.*\" fits no tensor; did you mean \"encoder.*\"?"});
}

TEST(UnusedRules, OverKeysThatWereMeantAsATagNameIt) {
  MapLocation rules;
  rules.add({MapLocation::Rule::Of::key, "CUP", kMeta, {}});
  EXPECT_EQ(unused({}, rules), Lines{"map_location \"CUP\" fits no tensor; did you mean \"cpu\"?"});
}

TEST(UnusedRules, OverTagsMayFitNothingUnlessTheyAreWrittenAsPatternsOfNames) {
  EXPECT_EQ(unused({}, {"cuda:0=cpu", "CPU=cpu", "npu:1=cpu", "mps=cpu", "hdfs=cpu"}), Lines());
  for (const char* rule : {"head.*=meta", "head.weight=meta", "head=meta", "states/0=meta"}) {
    const Lines lines = unused({}, {rule});
    ASSERT_EQ(lines.size(), 1u) << rule;
    std::string meant = rule;
    meant[meant.find('=')] = ':';
    EXPECT_NE(lines[0].find("map_location \"" + std::string(rule) + "\" fits no tensor"),
              std::string::npos)
        << lines[0];
    EXPECT_NE(lines[0].find("did you mean \"" + meant + "\""), std::string::npos) << lines[0];
  }
}

}  // namespace
}  // namespace transload
