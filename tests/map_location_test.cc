// Rules of a map_location as text, and what is said of devices that are not supported or not here.
#include <gtest/gtest.h>

#include "state_dicts.h"
#include "transload/device.h"
#include "transload/plan.h"

namespace transload {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string parsed(const std::string& text) { return MapLocation::parse(text).str(); }

TEST(MapLocationText, IsADeviceATagAPatternOrAuto) {
  for (const char* text : {"cpu", "cuda:1", "auto", "cuda:3=cpu", "CPU=cpu", "a=b=meta",
                           "encoder.*:cuda:0", "mps:cpu"})
    EXPECT_EQ(parsed(text), text);
}

TEST(MapLocationText, OfADeviceThatIsNotSupportedNamesItAndThoseThatAreHere) {
  for (const char* text : {"mps", "xpu", "xpu:0", "hpu", "cpu=mps", "encoder.*:xpu:0", "a:b:mps"}) {
    const std::string said = message([&] { MapLocation::parse(text); });
    for (const char* part : {"is not a supported device", "the devices here are cpu, meta",
                             "\"cpu\" works everywhere"})
      EXPECT_TRUE(contains(said, part)) << said;
    EXPECT_TRUE(contains(said, "map_location \"" + std::string(text) + "\"")) << said;
    EXPECT_THROW(MapLocation::parse(text), PlacementError);
  }
  EXPECT_TRUE(contains(message([] { MapLocation::parse("encoder.*:xpu:0"); }), ": \"xpu:0\" is"));
}

TEST(MapLocationText, OfAnUnknownWordNamesTheNearestOne) {
  EXPECT_TRUE(contains(message([] { parsed("cudda"); }), "did you mean \"cuda\"?"));
  EXPECT_TRUE(contains(message([] { parsed("CPU"); }), "did you mean \"cpu\"?"));
  EXPECT_TRUE(contains(message([] { parsed("cuda:0=cup"); }), "did you mean \"cpu\"?"));
  const std::string far = message([] { parsed("banana"); });
  EXPECT_FALSE(contains(far, "did you mean")) << far;
  EXPECT_TRUE(contains(far, "TAG=DEVICE, GLOB:DEVICE")) << far;
}

TEST(TorchDevices, AreKnownByNameWhetherOrNotTheyAreSupported) {
  for (const char* name : {"cpu", "cuda", "cuda:0", "cuda:99999", "mps", "mps:0", "xpu:12", "meta"})
    EXPECT_TRUE(is_torch_device(name)) << name;
  for (const char* name :
       {"", "CPU", "cuda:", "cuda:01", "cuda:x", "cuda:-1", "encoder", "xpu:0:1"})
    EXPECT_FALSE(is_torch_device(name)) << name;
}

TEST(DeviceNames, ThatAreOutOfRangeAreNotHere) {
  EXPECT_EQ(device_named("cuda:1"), cuda(1));
  EXPECT_TRUE(contains(message([] { device_named("cuda:99999"); }), "\"cuda:99999\" is not here"));
  EXPECT_TRUE(contains(message([] { device_named("gpu:0"); }), "did you mean \"cuda\"?"));
}

}  // namespace
}  // namespace transload
