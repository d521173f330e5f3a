// The settings that errors advise: as C++, and in the words of another language.
#include "transload/error.h"

#include <gtest/gtest.h>

namespace transload {
namespace {

TEST(Settings, AreWrittenAsCpp) {
  EXPECT_EQ(str(Setting{"at", {"model/0"}}), "select.at = \"model/0\"");
  EXPECT_EQ(str(Setting{"drop", {"a.*", "b"}}), "select.drop = {\"a.*\", \"b\"}");
  EXPECT_EQ(str(Setting{"rename", {"a.*", "b"}, {"*", "c"}}),
            "select.rename = {{\"a.*\", \"*\"}, {\"b\", \"c\"}}");
  EXPECT_EQ(str(Setting{"map_location", {"cpu"}}), "map_location = \"cpu\"");
  EXPECT_EQ(str(Setting{"map_location", {"cuda:0"}, {"cpu"}}), "map_location = {\"cuda:0=cpu\"}");
  EXPECT_EQ(str(Setting{"strict", {}}), "strict = false");
}

TEST(Settings, AreLiteralsWhateverIsInThem) {
  EXPECT_EQ(str(Setting{"drop", {"a\"b\\\n"}}), "select.drop = {\"a\\\"b\\\\\\n\"}");
}

TEST(Errors, WordTheirSettingsAsTheCallerDoes) {
  MismatchError error("a.pt");
  error.add_advice("first ", {{"drop", {"a"}}, {"strict", {}}}, " and so on");
  error.add("a line");
  error.add_advice("", {{"at", {"x"}}}, "");
  EXPECT_STREQ(error.what(),
               "a.pt\n  first select.drop = {\"a\"}, strict = false and so on\n  a line\n"
               "  select.at = \"x\"");
  const auto option = [](const Setting& setting) { return "<" + setting.option + ">"; };
  EXPECT_EQ(error.message(option), "a.pt\n  first <drop>, <strict> and so on\n  a line\n  <at>");
  EXPECT_EQ(Error("nothing advised").message(option), "nothing advised");
}

}  // namespace
}  // namespace transload
