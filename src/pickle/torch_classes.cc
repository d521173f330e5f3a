// The classes of PyTorch and NumPy that checkpoints and whole models hold, by their exact names. Each is in the module that
// defines it, as a pickle names it. A name that is not here may be anything that its module imports.
// Facts: the classes that PyTorch 2.13 and NumPy 2 define in these modules, without those that open, start or connect to
// something when they are made.
#include "pickle/globals.h"
#include "pickle/words.h"

namespace transload {
namespace {

struct ClassRow {
  std::string_view module, names;
};

constexpr ClassRow kClasses[] = {
    {"numpy.dtypes",
     "BoolDType Int8DType ByteDType UInt8DType UByteDType Int16DType ShortDType UInt16DType "
     "UShortDType Int32DType IntDType UInt32DType UIntDType Int64DType LongDType UInt64DType "
     "ULongDType LongLongDType ULongLongDType Float16DType Float32DType Float64DType "
     "LongDoubleDType Complex64DType Complex128DType CLongDoubleDType ObjectDType BytesDType "
     "StrDType VoidDType DateTime64DType TimeDelta64DType StringDType"},
    {"numpy.ma", "MaskedArray"},
    {"numpy.ma.core", "MaskedArray MaskedConstant mvoid"},
    {"numpy.ma.mrecords", "MaskedRecords"},
    {"numpy.polynomial._polybase", "ABCPolyBase"},
    {"numpy.polynomial.chebyshev", "Chebyshev"},
    {"numpy.polynomial.hermite", "Hermite"},
    {"numpy.polynomial.hermite_e", "HermiteE"},
    {"numpy.polynomial.laguerre", "Laguerre"},
    {"numpy.polynomial.legendre", "Legendre"},
    {"numpy.polynomial.polynomial", "Polynomial"},
    {"numpy.random._bit_generator", "SeedSequence"},
    {"numpy.random._generator", "Generator"},
    {"numpy.random._mt19937", "MT19937"},
    {"numpy.random._pcg64", "PCG64 PCG64DXSM"},
    {"numpy.random._philox", "Philox"},
    {"numpy.random._sfc64", "SFC64"},
    {"numpy.random.bit_generator", "SeedSequence SeedlessSeedSequence"},
    {"numpy.random.mtrand", "RandomState"},
    {"torch._dynamo.decorators", "_DimRange"},
    {"torch.amp.autocast_mode", "autocast _UnmanagedAutocast"},
    {"torch.amp.grad_scaler", "_MultiDeviceReplicator OptState GradScaler"},
    {"torch.ao.nn.intrinsic.modules.fused",
     "_FusedModule ConvReLU1d ConvReLU2d ConvReLU3d LinearReLU ConvBn1d ConvBn2d ConvBnReLU1d "
     "ConvBnReLU2d ConvBn3d ConvBnReLU3d BNReLU2d BNReLU3d LinearBn1d LinearLeakyReLU "
     "LinearTanh ConvAdd2d ConvAddReLU2d"},
    {"torch.ao.nn.intrinsic.qat.modules.conv_fused",
     "_ConvBnNd ConvBn1d ConvBnReLU1d ConvReLU1d ConvBn2d ConvBnReLU2d ConvReLU2d ConvBn3d "
     "ConvBnReLU3d ConvReLU3d"},
    {"torch.ao.nn.intrinsic.qat.modules.linear_fused", "LinearBn1d"},
    {"torch.ao.nn.intrinsic.qat.modules.linear_relu", "LinearReLU"},
    {"torch.ao.nn.intrinsic.quantized.dynamic.modules.linear_relu", "LinearReLU"},
    {"torch.ao.nn.intrinsic.quantized.modules.bn_relu", "BNReLU2d BNReLU3d"},
    {"torch.ao.nn.intrinsic.quantized.modules.conv_add", "ConvAdd2d ConvAddReLU2d"},
    {"torch.ao.nn.intrinsic.quantized.modules.conv_relu", "ConvReLU1d ConvReLU2d ConvReLU3d"},
    {"torch.ao.nn.intrinsic.quantized.modules.linear_relu",
     "LinearReLU LinearLeakyReLU LinearTanh"},
    {"torch.ao.nn.qat.dynamic.modules.linear", "Linear"},
    {"torch.ao.nn.qat.modules.conv", "_ConvNd Conv1d Conv2d Conv3d"},
    {"torch.ao.nn.qat.modules.embedding_ops", "Embedding EmbeddingBag"},
    {"torch.ao.nn.qat.modules.linear", "Linear"},
    {"torch.ao.nn.quantizable.modules.activation", "MultiheadAttention"},
    {"torch.ao.nn.quantizable.modules.rnn", "LSTMCell _LSTMSingleLayer _LSTMLayer LSTM"},
    {"torch.ao.nn.quantized.dynamic.modules.conv",
     "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d"},
    {"torch.ao.nn.quantized.dynamic.modules.linear", "Linear"},
    {"torch.ao.nn.quantized.dynamic.modules.rnn",
     "PackedParameter RNNBase LSTM GRU RNNCellBase RNNCell LSTMCell GRUCell"},
    {"torch.ao.nn.quantized.modules", "Quantize DeQuantize"},
    {"torch.ao.nn.quantized.modules.activation",
     "ReLU6 Hardswish ELU LeakyReLU Sigmoid Softmax MultiheadAttention PReLU"},
    {"torch.ao.nn.quantized.modules.batchnorm", "_BatchNorm BatchNorm2d BatchNorm3d"},
    {"torch.ao.nn.quantized.modules.conv",
     "_ConvNd Conv1d Conv2d Conv3d _ConvTransposeNd ConvTranspose1d ConvTranspose2d "
     "ConvTranspose3d"},
    {"torch.ao.nn.quantized.modules.dropout", "Dropout"},
    {"torch.ao.nn.quantized.modules.embedding_ops", "EmbeddingPackedParams Embedding EmbeddingBag"},
    {"torch.ao.nn.quantized.modules.functional_modules",
     "FloatFunctional FXFloatFunctional QFunctional"},
    {"torch.ao.nn.quantized.modules.linear", "LinearPackedParams Linear"},
    {"torch.ao.nn.quantized.modules.normalization",
     "LayerNorm GroupNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d"},
    {"torch.ao.nn.quantized.modules.rnn", "LSTM"},
    {"torch.ao.nn.quantized.modules.utils", "WeightedQuantizedModule"},
    {"torch.ao.nn.quantized.reference.modules.conv",
     "_ConvNd Conv1d Conv2d Conv3d _ConvTransposeNd ConvTranspose1d ConvTranspose2d "
     "ConvTranspose3d"},
    {"torch.ao.nn.quantized.reference.modules.linear", "Linear"},
    {"torch.ao.nn.quantized.reference.modules.rnn",
     "RNNCellBase RNNCell LSTMCell GRUCell RNNBase LSTM GRU"},
    {"torch.ao.nn.quantized.reference.modules.sparse", "Embedding EmbeddingBag"},
    {"torch.ao.nn.quantized.reference.modules.utils", "ReferenceQuantizedModule"},
    {"torch.ao.nn.sparse.quantized.dynamic.linear", "Linear"},
    {"torch.ao.nn.sparse.quantized.linear", "LinearPackedParams Linear"},
    {"torch.ao.nn.sparse.quantized.utils", "LinearBlockSparsePattern"},
    {"torch.ao.quantization", "_DerivedObserverOrFakeQuantize"},
    {"torch.ao.quantization._learnable_fake_quantize", "_LearnableFakeQuantize"},
    {"torch.ao.quantization.backend_config._common_operator_config_utils", "_ConvMetadata"},
    {"torch.ao.quantization.backend_config.backend_config",
     "ObservationType DTypeWithConstraints DTypeConfig BackendConfig BackendPatternConfig"},
    {"torch.ao.quantization.fake_quantize",
     "FakeQuantizeBase FakeQuantize FixedQParamsFakeQuantize FusedMovingAvgObsFakeQuantize"},
    {"torch.ao.quantization.observer",
     "_PartialWrapper ObserverBase UniformQuantizationObserverBase MinMaxObserver "
     "MovingAverageMinMaxObserver PerChannelMinMaxObserver "
     "MovingAveragePerChannelMinMaxObserver HistogramObserver FixedQParamsObserver "
     "PlaceholderObserver RecordingObserver NoopObserver ReuseInputObserver MappingType "
     "ZeroPointDomain TorchAODType Granularity PerBlock PerTensor PerAxis PerGroup PerRow "
     "PerToken AffineQuantizedObserverBase"},
    {"torch.ao.quantization.qconfig", "QConfig QConfigDynamic"},
    {"torch.ao.quantization.qconfig_mapping", "QConfigMapping"},
    {"torch.ao.quantization.quant_type", "QuantType"},
    {"torch.ao.quantization.stubs", "QuantStub DeQuantStub QuantWrapper"},
    {"torch.cuda.amp.autocast_mode", "autocast"},
    {"torch.cuda.amp.grad_scaler", "GradScaler"},
    {"torch.distributed._mesh_layout", "_FlatLayout _MeshLayout"},
    {"torch.distributed._shard.metadata", "ShardMetadata"},
    {"torch.distributed._shard.sharded_tensor.api", "ShardedTensorBase ShardedTensor"},
    {"torch.distributed._shard.sharded_tensor.metadata",
     "MEM_FORMAT_ENCODING TensorProperties ShardedTensorMetadata"},
    {"torch.distributed._shard.sharded_tensor.shard", "Shard"},
    {"torch.distributed._shard.sharding_spec.api",
     "PlacementSpec DevicePlacementSpec ShardingSpec EnumerableShardingSpec"},
    {"torch.distributed._shard.sharding_spec.chunk_sharding_spec", "ChunkShardingSpec"},
    {"torch.distributed.checkpoint.filesystem", "_StorageInfo _StoragePrefix SerializationFormat"},
    {"torch.distributed.checkpoint.metadata",
     "ChunkStorageMetadata _MEM_FORMAT_ENCODING TensorProperties TensorStorageMetadata "
     "BytesStorageMetadata StorageMeta Metadata MetadataIndex"},
    {"torch.distributed.device_mesh", "DeviceMesh"},
    {"torch.distributed.fsdp.api",
     "ShardingStrategy BackwardPrefetch MixedPrecision CPUOffload StateDictType "
     "StateDictConfig FullStateDictConfig LocalStateDictConfig ShardedStateDictConfig "
     "OptimStateDictConfig FullOptimStateDictConfig LocalOptimStateDictConfig "
     "ShardedOptimStateDictConfig StateDictSettings"},
    {"torch.distributed.fsdp.sharded_grad_scaler",
     "_GeneralMultiDeviceReplicator ShardedGradScaler"},
    {"torch.distributed.fsdp.wrap", "_Policy ModuleWrapPolicy CustomPolicy _ConfigAutoWrap"},
    {"torch.distributed.tensor", "DTensor"},
    {"torch.distributed.tensor._dtensor_spec", "ShardOrderEntry TensorMeta DTensorSpec"},
    {"torch.distributed.tensor.parallel.style",
     "ParallelStyle ColwiseParallel RowwiseParallel SequenceParallel PrepareModuleInput "
     "PrepareModuleOutput PrepareModuleInputOutput"},
    {"torch.distributed.tensor.placement_types",
     "Placement _StridedShardOffsetMode Shard _StridedShard Replicate Partial _MaskPartial"},
    {"torch.distributions.bernoulli", "Bernoulli"},
    {"torch.distributions.beta", "Beta"},
    {"torch.distributions.binomial", "Binomial"},
    {"torch.distributions.categorical", "Categorical"},
    {"torch.distributions.cauchy", "Cauchy"},
    {"torch.distributions.chi2", "Chi2"},
    {"torch.distributions.constraint_registry", "ConstraintRegistry"},
    {"torch.distributions.constraints",
     "Constraint _Dependent _DependentProperty _IndependentConstraint "
     "MixtureSameFamilyConstraint _Boolean _OneHot _IntegerInterval _IntegerLessThan "
     "_IntegerGreaterThan _Real _GreaterThan _GreaterThanEq _LessThan _Interval "
     "_HalfOpenInterval _Simplex _Multinomial _LowerTriangular _LowerCholesky _CorrCholesky "
     "_Square _Symmetric _PositiveSemidefinite _PositiveDefinite _Cat _Stack"},
    {"torch.distributions.continuous_bernoulli", "ContinuousBernoulli"},
    {"torch.distributions.dirichlet", "_Dirichlet Dirichlet"},
    {"torch.distributions.distribution", "Distribution"},
    {"torch.distributions.exp_family", "ExponentialFamily"},
    {"torch.distributions.exponential", "Exponential"},
    {"torch.distributions.fishersnedecor", "FisherSnedecor"},
    {"torch.distributions.gamma", "Gamma"},
    {"torch.distributions.generalized_pareto", "GeneralizedPareto"},
    {"torch.distributions.geometric", "Geometric"},
    {"torch.distributions.gumbel", "Gumbel"},
    {"torch.distributions.half_cauchy", "HalfCauchy"},
    {"torch.distributions.half_normal", "HalfNormal"},
    {"torch.distributions.independent", "Independent"},
    {"torch.distributions.inverse_gamma", "InverseGamma"},
    {"torch.distributions.kl", "_Match"},
    {"torch.distributions.kumaraswamy", "Kumaraswamy"},
    {"torch.distributions.laplace", "Laplace"},
    {"torch.distributions.lkj_cholesky", "LKJCholesky"},
    {"torch.distributions.log_normal", "LogNormal"},
    {"torch.distributions.logistic_normal", "LogisticNormal"},
    {"torch.distributions.lowrank_multivariate_normal", "LowRankMultivariateNormal"},
    {"torch.distributions.mixture_same_family", "MixtureSameFamily"},
    {"torch.distributions.multinomial", "Multinomial"},
    {"torch.distributions.multivariate_normal", "MultivariateNormal"},
    {"torch.distributions.negative_binomial", "NegativeBinomial"},
    {"torch.distributions.normal", "Normal"},
    {"torch.distributions.one_hot_categorical",
     "OneHotCategorical OneHotCategoricalStraightThrough"},
    {"torch.distributions.pareto", "Pareto"},
    {"torch.distributions.poisson", "Poisson"},
    {"torch.distributions.relaxed_bernoulli", "LogitRelaxedBernoulli RelaxedBernoulli"},
    {"torch.distributions.relaxed_categorical", "ExpRelaxedCategorical RelaxedOneHotCategorical"},
    {"torch.distributions.studentT", "StudentT"},
    {"torch.distributions.transformed_distribution", "TransformedDistribution"},
    {"torch.distributions.transforms",
     "Transform _InverseTransform ComposeTransform IndependentTransform ReshapeTransform "
     "ExpTransform PowerTransform SigmoidTransform SoftplusTransform TanhTransform "
     "AbsTransform AffineTransform CorrCholeskyTransform SoftmaxTransform "
     "StickBreakingTransform LowerCholeskyTransform PositiveDefiniteTransform CatTransform "
     "StackTransform CumulativeDistributionTransform"},
    {"torch.distributions.uniform", "Uniform"},
    {"torch.distributions.von_mises", "VonMises"},
    {"torch.distributions.weibull", "Weibull"},
    {"torch.distributions.wishart", "Wishart"},
    {"torch.nested._internal.nested_tensor",
     "NestedTensor ViewBufferFromNested ViewNestedFromBuffer"},
    {"torch.nn.attention.bias", "CausalVariant CausalBias"},
    {"torch.nn.attention.flex_attention", "BlockMask"},
    {"torch.nn.modules.activation",
     "Threshold ReLU RReLU Hardtanh ReLU6 Sigmoid Hardsigmoid Tanh SiLU Mish Hardswish ELU "
     "CELU SELU GLU GELU Hardshrink LeakyReLU LogSigmoid Softplus Softshrink "
     "MultiheadAttention PReLU Softsign Tanhshrink Softmin Softmax Softmax2d LogSoftmax"},
    {"torch.nn.modules.adaptive", "_ASMoutput AdaptiveLogSoftmaxWithLoss"},
    {"torch.nn.modules.batchnorm",
     "_NormBase _BatchNorm _LazyNormBase BatchNorm1d LazyBatchNorm1d BatchNorm2d "
     "LazyBatchNorm2d BatchNorm3d LazyBatchNorm3d SyncBatchNorm"},
    {"torch.nn.modules.channelshuffle", "ChannelShuffle"},
    {"torch.nn.modules.container",
     "Container Sequential ModuleList ModuleDict ParameterList ParameterDict"},
    {"torch.nn.modules.conv",
     "_ConvNd Conv1d Conv2d Conv3d _ConvTransposeNd ConvTranspose1d ConvTranspose2d "
     "ConvTranspose3d _ConvTransposeMixin _LazyConvXdMixin LazyConv1d LazyConv2d LazyConv3d "
     "LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d"},
    {"torch.nn.modules.distance", "PairwiseDistance CosineSimilarity"},
    {"torch.nn.modules.dropout",
     "_DropoutNd Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout"},
    {"torch.nn.modules.flatten", "Flatten Unflatten"},
    {"torch.nn.modules.fold", "Fold Unfold"},
    {"torch.nn.modules.instancenorm",
     "_InstanceNorm InstanceNorm1d LazyInstanceNorm1d InstanceNorm2d LazyInstanceNorm2d "
     "InstanceNorm3d LazyInstanceNorm3d"},
    {"torch.nn.modules.lazy", "_LazyProtocol LazyModuleMixin"},
    {"torch.nn.modules.linear",
     "Identity Linear NonDynamicallyQuantizableLinear Bilinear LazyLinear _LinearWithBias"},
    {"torch.nn.modules.linear_cross_entropy_options", "_AutoDefault LinearCrossEntropyOptions"},
    {"torch.nn.modules.loss",
     "_Loss _WeightedLoss L1Loss NLLLoss NLLLoss2d PoissonNLLLoss GaussianNLLLoss KLDivLoss "
     "MSELoss BCELoss BCEWithLogitsLoss HingeEmbeddingLoss MultiLabelMarginLoss SmoothL1Loss "
     "HuberLoss SoftMarginLoss CrossEntropyLoss LinearCrossEntropyLoss "
     "MultiLabelSoftMarginLoss CosineEmbeddingLoss MarginRankingLoss MultiMarginLoss "
     "TripletMarginLoss TripletMarginWithDistanceLoss CTCLoss"},
    {"torch.nn.modules.module", "_IncompatibleKeys _WrappedHook Module"},
    {"torch.nn.modules.normalization",
     "LocalResponseNorm CrossMapLRN2d LayerNorm GroupNorm RMSNorm"},
    {"torch.nn.modules.padding",
     "_CircularPadNd CircularPad1d CircularPad2d CircularPad3d _ConstantPadNd ConstantPad1d "
     "ConstantPad2d ConstantPad3d _ReflectionPadNd ReflectionPad1d ReflectionPad2d "
     "ReflectionPad3d _ReplicationPadNd ReplicationPad1d ReplicationPad2d ReplicationPad3d "
     "ZeroPad1d ZeroPad2d ZeroPad3d"},
    {"torch.nn.modules.pixelshuffle", "PixelShuffle PixelUnshuffle"},
    {"torch.nn.modules.pooling",
     "_MaxPoolNd MaxPool1d MaxPool2d MaxPool3d _MaxUnpoolNd MaxUnpool1d MaxUnpool2d "
     "MaxUnpool3d _AvgPoolNd AvgPool1d AvgPool2d AvgPool3d FractionalMaxPool2d "
     "FractionalMaxPool3d _LPPoolNd LPPool1d LPPool2d LPPool3d _AdaptiveMaxPoolNd "
     "AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d _AdaptiveAvgPoolNd "
     "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d"},
    {"torch.nn.modules.rnn", "RNNBase RNN LSTM GRU RNNCellBase RNNCell LSTMCell GRUCell"},
    {"torch.nn.modules.sparse", "Embedding EmbeddingBag"},
    {"torch.nn.modules.transformer",
     "Transformer TransformerEncoder TransformerDecoder TransformerEncoderLayer "
     "TransformerDecoderLayer"},
    {"torch.nn.modules.upsampling", "Upsample UpsamplingNearest2d UpsamplingBilinear2d"},
    {"torch.nn.parallel.data_parallel", "DataParallel"},
    {"torch.nn.parallel.distributed",
     "_BufferCommHookLocation _BufferCommHook DistributedDataParallel"},
    {"torch.nn.parameter",
     "_ParameterMeta Parameter UninitializedTensorMixin UninitializedParameter _BufferMeta "
     "Buffer UninitializedBuffer"},
    {"torch.nn.utils.parametrizations", "_OrthMaps _Orthogonal _WeightNorm _SpectralNorm"},
    {"torch.nn.utils.parametrize", "ParametrizationList"},
    {"torch.nn.utils.prune",
     "BasePruningMethod PruningContainer Identity RandomUnstructured L1Unstructured "
     "RandomStructured LnStructured CustomFromMask"},
    {"torch.nn.utils.rnn", "PackedSequence_ PackedSequence"},
    {"torch.nn.utils.spectral_norm",
     "SpectralNorm SpectralNormLoadStateDictPreHook SpectralNormStateDictHook"},
    {"torch.nn.utils.weight_norm", "WeightNorm"},
    {"torch.optim", "Adafactor Muon"},
    {"torch.optim.adadelta", "Adadelta"},
    {"torch.optim.adagrad", "Adagrad"},
    {"torch.optim.adam", "Adam"},
    {"torch.optim.adamax", "Adamax"},
    {"torch.optim.adamw", "AdamW"},
    {"torch.optim.asgd", "ASGD"},
    {"torch.optim.lbfgs", "LBFGS"},
    {"torch.optim.lr_scheduler",
     "LRScheduler _LRScheduler LambdaLR MultiplicativeLR StepLR MultiStepLR ConstantLR "
     "LinearLR ExponentialLR SequentialLR PolynomialLR CosineAnnealingLR ChainedScheduler "
     "ReduceLROnPlateau CyclicLR CosineAnnealingWarmRestarts _SchedulePhase OneCycleLR"},
    {"torch.optim.nadam", "NAdam"},
    {"torch.optim.optimizer", "_RequiredParameter Optimizer"},
    {"torch.optim.radam", "RAdam"},
    {"torch.optim.rmsprop", "RMSprop"},
    {"torch.optim.rprop", "Rprop"},
    {"torch.optim.sgd", "SGD"},
    {"torch.optim.sparse_adam", "SparseAdam"},
    {"torch.optim.swa_utils", "AveragedModel SWALR"},
    {"torch.return_types",
     "SequenceKey _attr _fake_quantize_per_tensor_affine_cachemask_tensor_qparams "
     "_fused_moving_avg_obs_fq_helper _linalg_det _linalg_det_out _linalg_eigh "
     "_linalg_eigh_out _linalg_slogdet _linalg_slogdet_out _linalg_solve_ex "
     "_linalg_solve_ex_out _linalg_svd _linalg_svd_out _lu_with_info "
     "_scaled_dot_product_cudnn_attention _scaled_dot_product_efficient_attention "
     "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu "
     "_unpack_dual aminmax aminmax_out cummax cummax_out cummin cummin_out frexp frexp_out "
     "geqrf geqrf_out histogram histogram_out histogramdd kthvalue kthvalue_out "
     "linalg_cholesky_ex linalg_cholesky_ex_out linalg_eig linalg_eig_out linalg_eigh "
     "linalg_eigh_out linalg_inv_ex linalg_inv_ex_out linalg_ldl_factor linalg_ldl_factor_ex "
     "linalg_ldl_factor_ex_out linalg_ldl_factor_out linalg_lstsq linalg_lstsq_out linalg_lu "
     "linalg_lu_factor linalg_lu_factor_ex linalg_lu_factor_ex_out linalg_lu_factor_out "
     "linalg_lu_out linalg_qr linalg_qr_out linalg_slogdet linalg_slogdet_out linalg_solve_ex "
     "linalg_solve_ex_out linalg_svd linalg_svd_out lu_unpack lu_unpack_out max max_out median "
     "median_out min min_out mode mode_out nanmedian nanmedian_out qr qr_out slogdet "
     "slogdet_out sort sort_out svd svd_out topk topk_out triangular_solve "
     "triangular_solve_out"},
    {"torch.utils.data.dataloader", "_DatasetKind _InfiniteConstantSampler DataLoader"},
    {"torch.utils.data.dataset",
     "Dataset IterableDataset TensorDataset StackDataset ConcatDataset ChainDataset Subset"},
    {"torch.utils.data.distributed", "DistributedSampler"},
    {"torch.utils.data.sampler",
     "Sampler SequentialSampler RandomSampler SubsetRandomSampler WeightedRandomSampler "
     "BatchSampler"},
    {"torch.utils.hooks", "RemovableHandle BackwardHook"},
};

// Modules that moved. The old name of each leads to the classes of the new one.
struct Moved {
  std::string_view from, to;
};
constexpr Moved kMoved[] = {
    {"torch.nn.qat.", "torch.ao.nn.qat."},
    {"torch.nn.quantized.", "torch.ao.nn.quantized."},
    {"torch.nn.quantizable.", "torch.ao.nn.quantizable."},
    {"torch.nn.intrinsic.", "torch.ao.nn.intrinsic."},
    {"torch.quantization.", "torch.ao.quantization."},
    {"torch.distributed._tensor.", "torch.distributed.tensor."},
};

bool is_listed(std::string_view module, std::string_view name) {
  for (const ClassRow& row : kClasses) {
    if (row.module == module) return has_word(row.names, name);
  }
  return false;
}

}  // namespace

bool is_class_of_models(std::string_view module, std::string_view name) {
  if (is_listed(module, name)) return true;
  for (const Moved& moved : kMoved) {
    const std::string_view package = moved.from.substr(0, moved.from.size() - 1);
    if (module == package) return is_listed(moved.to.substr(0, moved.to.size() - 1), name);
    if (module.starts_with(moved.from))
      return is_listed(std::string(moved.to) + std::string(module.substr(moved.from.size())), name);
  }
  return false;
}

}  // namespace transload
